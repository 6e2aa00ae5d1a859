// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/input_form.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lowbit/base/error.h"

namespace lowbit {

size_t RotationBlock(size_t cols) {
  constexpr size_t kLargest = 128;
  size_t block = 1;
  while (block < kLargest && cols % (2 * block) == 0) block *= 2;
  return block;
}

void RotateRow(std::span<float> row, size_t block) {
  LOWBIT_ASSERT(block > 0 && row.size() % block == 0);
  const auto factor = static_cast<float>(1 / std::sqrt(static_cast<double>(block)));
  for (size_t at = 0; at < row.size(); at += block) {
    float* x = row.data() + at;
    for (size_t half = 1; half < block; half *= 2) {
      for (size_t i = 0; i < block; i += 2 * half) {
        for (size_t j = i; j < i + half; ++j) {
          const float a = x[j], b = x[j + half];
          x[j] = a + b;
          x[j + half] = a - b;
        }
      }
    }
    for (size_t j = 0; j < block; ++j) x[j] *= factor;
  }
}

float RoundInputs(std::span<const float> row, int bits, float fixed_scale, std::span<int8_t> integers) {
  LOWBIT_ASSERT(row.size() == integers.size());
  constexpr float kLeast = 1e-5f;
  const auto largest = static_cast<float>(LargestInput(bits));
  float most = kLeast;
  bool is_finite = true;
  for (const float x : row) {
    most = std::max(most, std::fabs(x));
    is_finite &= std::isfinite(x);
  }
  if (!is_finite) {
    std::ranges::fill(integers, int8_t{0});
    return std::numeric_limits<float>::quiet_NaN();
  }
  const float scale = fixed_scale > 0 ? fixed_scale : most / largest;
  for (size_t i = 0; i < row.size(); ++i) {
    integers[i] = static_cast<int8_t>(std::clamp(std::nearbyint(row[i] / scale), -largest, largest));
  }
  return scale;
}

}  // namespace lowbit
