// SPDX-License-Identifier: Apache-2.0
// How far two sets of rows are apart: what a loss or an output error is made of.
#pragma once

#include <algorithm>
#include <vector>

#include "lowbit/base/threads.h"
#include "lowbit/quant/row_loops.h"
#include "lowbit/tensor/view.h"

namespace lowbit {

// Σ (a - b)² of rows [rows, columns] of one shape, in double; rows are added in their order, whatever the threads.
inline double SquaredDistance(MatView<const float> a, MatView<const float> b, const Threads& threads) {
  constexpr size_t kRowsPerTask = 64;
  LOWBIT_ASSERT(a.rows == b.rows && a.cols == b.cols);
  std::vector<double> of_rows(a.rows);
  threads.For((a.rows + kRowsPerTask - 1) / kRowsPerTask, [&](size_t task) {
    const size_t end = std::min(a.rows, (task + 1) * kRowsPerTask);
    for (size_t t = task * kRowsPerTask; t < end; ++t) {
      of_rows[t] = Loops().squared_distance(a.Row(t), b.Row(t), a.cols);
    }
  });
  double total = 0;
  for (const double row : of_rows) total += row;
  return total;
}

}  // namespace lowbit
