// SPDX-License-Identifier: Apache-2.0
// The fast backend: products by oneDNN on fixed tiles (onednn.h), the rest by Highway (vector_ops.h).
#pragma once

#include <memory>

#include "lowbit/kernels/backend.h"

namespace lowbit {

std::unique_ptr<Backend> MakeCpuBackend(Compute compute, const Threads& threads);

// Whether this CPU multiplies bf16 clearly faster than f32.
bool CpuPrefersBF16();

}  // namespace lowbit
