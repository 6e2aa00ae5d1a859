// SPDX-License-Identifier: Apache-2.0
// Losses of AWQ from the Gram matrix of the inputs alone: ‖X Eᵀ‖² = Σ e XᵀX eᵀ over the rows e of E = W - Ŵ.
// Exact for a linear; the rows X need not be kept.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "lowbit/kernels/backend.h"
#include "lowbit/quant/awq.h"

namespace lowbit {

// e ↦ e C eᵀ for C_jk = factor · gram_jk / (s_j s_k), on columns [first, first + size) of a Gram matrix whose
// upper triangle is given. C is rounded to f32 and multiplied in f32 whatever the backend computes in; sums over
// a row are double.
class GramForm {
 public:
  // No `scales`: all 1; else one per column of the form.
  GramForm(const Backend& backend, MatView<const double> gram, size_t first, size_t size, double factor,
           std::span<const float> scales = {});

  // forms[r] of row r of `errors` [rows, size].
  void Evaluate(MatView<const float> errors, std::span<double> forms) const;

 private:
  // Columns [begin, begin + weight->out()) of C's upper triangle, which reach down to their own row only: the
  // lower triangle would double the work.
  struct Block {
    size_t begin;
    std::unique_ptr<Prepared> weight;
  };
  const Backend& backend_;
  std::vector<Block> blocks_;
};

// The squared change of the readers' own outputs, mean over tokens and output channels. What AWQ measures where
// a module is linear in the searched weights (down_proj); elsewhere it is another method (docs/methods.md).
class GramLoss : public ScaleLoss {
 public:
  // `gram`: upper triangle, a sum over `tokens` > 0. Keeps the views of `weights`, the readers as they were.
  // `row_weights`: how much a row of each reader counts; empty: all 1.
  GramLoss(const Backend& backend, MatView<const double> gram, uint64_t tokens,
           std::span<const MatView<const float>> weights,
           std::span<const std::vector<float>> row_weights = {});

  double Loss(std::span<const MatView<const float>> readers) const override;

 private:
  const Backend& backend_;
  GramForm form_;
  std::vector<MatView<const float>> weights_;
  std::vector<std::vector<float>> row_weights_;
};

// The same for the gates and ups of all experts of a mixture, each with the rows that it sees.
class ExpertsGramLoss : public ScaleLoss {
 public:
  struct Expert {
    MatView<const double> gram;  // as GramLoss's
    uint64_t tokens = 0;         // may be 0: the expert does not count
    std::vector<MatView<const float>> weights;
    std::vector<std::vector<float>> row_weights = {};
  };
  // Readers come in the order of the experts and of their weights.
  ExpertsGramLoss(const Backend& backend, std::vector<Expert> experts);

  double Loss(std::span<const MatView<const float>> readers) const override;

 private:
  const Backend& backend_;
  std::vector<Expert> experts_;
};

}  // namespace lowbit
