// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/rotation.h"

#include <algorithm>
#include <cmath>

#include "lowbit/tensor/input_form.h"

namespace lowbit {
namespace {

constexpr size_t kColumnsPerTask = 512;

// Sums and differences of pairs in blocks of `block`, level after level: pair(i, j) for i < j.
template <class F>
void ForPairs(size_t size, size_t block, const F& pair) {
  for (size_t half = 1; half < block; half *= 2) {
    for (size_t i = 0; i < size; i += 2 * half) {
      for (size_t j = i; j < i + half; ++j) pair(j, j + half);
    }
  }
}

}  // namespace

void RotateGram(MatView<double> gram, size_t block, const Threads& threads) {
  LOWBIT_ASSERT(gram.rows == gram.cols && gram.cols % block == 0);
  const size_t n = gram.cols;
  threads.For(n, [&](size_t i) {
    for (size_t j = 0; j < i; ++j) gram.Row(i)[j] = gram.Row(j)[i];
  });
  const double factor = 1 / static_cast<double>(block);  // of both sides together
  threads.For(n, [&](size_t i) {
    double* row = gram.Row(i);
    ForPairs(n, block, [&](size_t a, size_t b) {
      const double x = row[a], y = row[b];
      row[a] = x + y;
      row[b] = x - y;
    });
    for (size_t j = 0; j < n; ++j) row[j] *= factor;
  });
  threads.For((n + kColumnsPerTask - 1) / kColumnsPerTask, [&](size_t task) {
    const size_t first = task * kColumnsPerTask, end = std::min(n, first + kColumnsPerTask);
    ForPairs(n, block, [&](size_t a, size_t b) {
      double *x = gram.Row(a), *y = gram.Row(b);
      for (size_t j = first; j < end; ++j) {
        const double sum = x[j] + y[j], difference = x[j] - y[j];
        x[j] = sum;
        y[j] = difference;
      }
    });
  });
}

InputStatistics RotatedDiagonal(const InputStatistics& inputs, std::span<const float> scales, size_t block) {
  static const Threads serial(1);
  InputStatistics rotated(inputs.width, GramPart::kDiagonal);
  rotated.tokens = inputs.tokens;
  rotated.sum_abs = inputs.sum_abs;
  rotated.max_abs = inputs.max_abs;
  const bool is_full = inputs.part == GramPart::kFull;
  for (size_t first = 0; first < inputs.width; first += kGramBlock) {
    const size_t size = std::min(kGramBlock, inputs.width - first);
    double* to = rotated.gram.data() + first * kGramBlock;
    for (size_t i = 0; i < size; ++i) {
      for (size_t j = i; j < size; ++j) {
        const double g = is_full ? inputs.Gram().Row(first + i)[first + j]
                                 : inputs.gram.data()[first * kGramBlock + i * kGramBlock + j];
        const double by = scales.empty() ? 1 : double{scales[first + i]} * double{scales[first + j]};
        to[i * kGramBlock + j] = g / by;
      }
    }
    RotateGram({to, size, size, kGramBlock}, block, serial);
  }
  return rotated;
}

}  // namespace lowbit
