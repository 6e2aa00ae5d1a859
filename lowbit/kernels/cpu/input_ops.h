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

// What integer sums of `n` outputs mean: y = scales ⊙ (sums + shift + factor · offsets), or with `adds` y += that.
// `shift` and `offsets` may be null: 0.
struct SumScaling {
  const int32_t* shift = nullptr;
  const int32_t* offsets = nullptr;
  int32_t factor = 0;
  const float* scales = nullptr;
  bool adds = false;
};
void ScaleSums(const int32_t* sums, const SumScaling& how, float* y, size_t n);

}  // namespace lowbit::vector
