// SPDX-License-Identifier: Apache-2.0
// The specification of every operation: plain loops, nothing clever. Slow on purpose.
#pragma once

#include <memory>

#include "lowbit/kernels/backend.h"

namespace lowbit {

std::unique_ptr<Backend> MakeRefBackend(Compute compute, const Threads& threads);

}  // namespace lowbit
