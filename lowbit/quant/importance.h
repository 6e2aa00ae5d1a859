// SPDX-License-Identifier: Apache-2.0
// How much an error of a column's weights costs, for range=hdiag: how large its inputs are.
#pragma once

#include <span>
#include <vector>

#include "lowbit/calib/statistics.h"
#include "lowbit/tensor/view.h"

namespace lowbit {

// Of `count` columns: their sums of squares, of inputs that were divided by `scales`, one for each; empty: all 1.
template <class SquaresOf>
std::vector<float> ImportanceOf(size_t count, std::span<const float> scales, const SquaresOf& squares_of) {
  LOWBIT_ASSERT(scales.empty() || scales.size() == count);
  std::vector<float> importance;
  importance.reserve(count);
  for (size_t j = 0; j < count; ++j) {
    const double s = scales.empty() ? 1 : static_cast<double>(scales[j]);
    importance.push_back(static_cast<float>(squares_of(j) / (s * s)));
  }
  return importance;
}

inline std::vector<float> ImportanceOf(const InputStatistics& inputs, std::span<const float> scales = {}) {
  return ImportanceOf(inputs.width, scales, [&](size_t j) { return inputs.SumOfSquares(j); });
}

// Of columns [first, first + count) of Σ x xᵀ.
inline std::vector<float> ImportanceOf(MatView<const double> gram, size_t first, size_t count,
                                       std::span<const float> scales) {
  LOWBIT_ASSERT(first + count <= gram.cols);
  return ImportanceOf(count, scales, [&](size_t j) { return gram.Row(first + j)[first + j]; });
}

}  // namespace lowbit
