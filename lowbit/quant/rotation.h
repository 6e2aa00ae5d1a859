// SPDX-License-Identifier: Apache-2.0
// What a method must know of inputs that are rotated before they meet the weights (tensor/input_form.h). Rotations
// are taken of what was collected, not of the rows: H G H for a Gram matrix G.
#pragma once

#include <cstddef>
#include <span>

#include "lowbit/base/threads.h"
#include "lowbit/calib/statistics.h"

namespace lowbit {

// H G H of G = Σ x xᵀ, of which only the upper triangle is read; `block` divides its columns. Does not depend on the
// number of threads.
void RotateGram(MatView<double> gram, size_t block, const Threads& threads);

// The diagonal blocks, rotated, of inputs divided by `scales` (empty: by nothing). `inputs` has at least its diagonal
// blocks; what else it knows of single channels is kept as it is.
InputStatistics RotatedDiagonal(const InputStatistics& inputs, std::span<const float> scales, size_t block);

}  // namespace lowbit
