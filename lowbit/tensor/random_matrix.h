// SPDX-License-Identifier: Apache-2.0
// Numbers to measure and test with.
#pragma once

#include "lowbit/tensor/buffer.h"

namespace lowbit {

// Normal with mean 0 and deviation `spread`; the same for the same seed.
Matrix RandomMatrix(size_t rows, size_t cols, uint32_t seed = 1, float spread = 1.0f);

}  // namespace lowbit
