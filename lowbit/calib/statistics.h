// SPDX-License-Identifier: Apache-2.0
// Room calib: which tokens a method learns from, and what the linears of a model saw of them.
// In:  texts, a tokenizer, the rows that pass through a layer.   Out: a calibration set with a hash, and
// statistics per tap that can be merged and saved. Non-goals: what a method does with them (quant).
// Start reading here, then calibration_set.h (the tokens).
#pragma once

#include <cstdint>
#include <vector>

#include "lowbit/kernels/backend.h"

namespace lowbit {

// What the readers of one stage saw: sums over tokens, so that parts of a set can be merged.
struct InputStatistics {
  size_t width = 0;
  uint64_t tokens = 0;
  Buffer<double> gram;          // Σ x xᵀ, [width, width], upper triangle; empty when it was not asked for
  std::vector<double> sum_abs;  // Σ |x_j|
  std::vector<float> max_abs;   // max |x_j|

  explicit InputStatistics(size_t columns = 0, bool with_gram = true);

  // Rows of whole sequences, `first_row` of each sequence a multiple of kGramRows from where it began: the
  // same bits however the rows come.
  void Add(const Backend& backend, MatView<const float> rows);
  MatView<double> Gram() { return {gram.data(), width, width}; }
  MatView<const double> Gram() const { return {gram.data(), width, width}; }
};

}  // namespace lowbit
