// SPDX-License-Identifier: Apache-2.0
// Rows of inputs as packed matrices want them (tensor/input_form.h), and what comes of products of integers. Written
// with Highway like vector_ops.h, whose switch for tests holds here too.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lowbit::vector {

// Integers of a row and their scale, bit for bit RoundInputs.
float RoundInputsRow(const float* x, size_t n, int bits, float fixed_scale, int8_t* integers);

// A row of `n` values, bit for bit RotateRow.
void RotateBlocks(float* x, size_t n, size_t block);

// y = scales ⊙ (sums + factor · offsets), or with `adds` y += that; `offsets` null: 0.
void AddScaledSums(const int32_t* sums, int32_t factor, const int32_t* offsets, const float* scales,
                   bool adds, float* y, size_t n);

}  // namespace lowbit::vector
