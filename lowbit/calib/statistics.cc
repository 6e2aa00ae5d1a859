// SPDX-License-Identifier: Apache-2.0
#include "lowbit/calib/statistics.h"

#include <algorithm>
#include <cmath>

namespace lowbit {

InputStatistics::InputStatistics(size_t columns, bool with_gram)
    : width(columns), gram(with_gram ? columns * columns : 0), sum_abs(columns), max_abs(columns) {
  std::fill_n(gram.data(), gram.size(), 0.0);
}

void InputStatistics::Add(const Backend& backend, MatView<const float> rows) {
  LOWBIT_ASSERT(rows.cols == width);
  if (gram.size() > 0) backend.AddGram(rows, Gram());
  constexpr size_t kColumns = 64;
  backend.threads().For((width + kColumns - 1) / kColumns, [&](size_t task) {
    const size_t end = std::min(width, (task + 1) * kColumns);
    for (size_t t = 0; t < rows.rows; ++t) {
      const float* row = rows.Row(t);
      for (size_t j = task * kColumns; j < end; ++j) {
        const float value = std::abs(row[j]);
        sum_abs[j] += static_cast<double>(value);
        max_abs[j] = std::max(max_abs[j], value);
      }
    }
  });
  tokens += rows.rows;
}

}  // namespace lowbit
