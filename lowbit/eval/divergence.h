// SPDX-License-Identifier: Apache-2.0
// How far a model's predictions are from those of its full-precision self, token by token. Each model's layers
// run once: the full-precision model's final hidden states are kept, and heads are compared row by row as the
// other model's come.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "lowbit/eval/task.h"
#include "lowbit/model/activations.h"

namespace lowbit {

// Scores, and beside each what CompareHeads says of that token; `divergence` is empty for the base itself.
struct ComparedScores {
  std::vector<std::vector<TokenScore>> scores;
  std::vector<std::vector<RowDivergence>> divergence;
};

// The full-precision side of one task: final hidden states of the scored tokens, f32 and exact, in memory where
// that leaves room for the activations of a pass, else in a scratch file without a name.
class Reference {
 public:
  // All must outlive it. Nothing is computed yet.
  Reference(const LayerSource& base, const Backend& backend, const MemoryBudget& budget)
      : base_(base), backend_(backend), budget_(budget) {}
  Reference(const Reference&) = delete;
  Reference& operator=(const Reference&) = delete;

  const LayerSource& base() const { return base_; }

  // scorer.ScoreTokens. Where the scorer's model is base(), its rows are kept. Any other model, of the same
  // sizes, is compared with them; where none are kept of these requests, a pass of the base comes first.
  // Throws what ScoreTokens throws, for the base's pass saying so, and Error{kNumeric} when a divergence is not
  // finite.
  ComparedScores ScoreTokens(const Scorer& scorer, std::span<const ScoreRequest> requests);

 private:
  std::vector<std::vector<TokenScore>> Keep(const Scorer& base, std::span<const ScoreRequest> requests);
  std::unique_ptr<Activations> MakeRows(const ForwardJob& job, uint64_t& kept_bytes) const;

  const LayerSource& base_;
  const Backend& backend_;
  const MemoryBudget& budget_;
  std::vector<int32_t> kept_;  // what the rows are of; empty: none
  std::unique_ptr<Activations> rows_;
};

// `job` of a model that is compared with its base, and what that takes beside it.
ForwardJob ComparedJob(ForwardJob job, const LayerSource& base, const Backend& backend,
                       const MemoryBudget& budget);

// Of the tokens of all windows, in nats: "kl_mean" and "top1_agreement" with their standard errors over windows,
// "kl_median", "kl_p99" (linear between the two nearest tokens). n is the number of tokens. At least one token
// in each window.
std::vector<Measurement> DivergenceOf(std::span<const std::vector<RowDivergence>> windows);

}  // namespace lowbit
