// SPDX-License-Identifier: Apache-2.0
// Perplexity as the quantization papers measure it (GPTQ, AWQ and followers): one encoding of the whole
// text, consecutive windows, each on its own from position 0, the tail dropped. docs/evaluation.md.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "lowbit/eval/divergence.h"
#include "lowbit/eval/scorer.h"

namespace lowbit {

struct PerplexityResult {
  double perplexity = 0;            // exp of the mean of the window means
  std::optional<double> std_error;  // of the perplexity, from the spread of the windows; none for one window
  double mean_nll = 0;              // nats per token
  std::vector<double> window_nll;   // mean over the window - 1 predicted tokens of each window
  size_t predicted_tokens = 0;
  std::vector<std::vector<RowDivergence>> divergence;  // of each window's tokens, where compared
};

// How many windows of `window` tokens that is: floor(ids / window), at most `max_windows` unless that is 0.
// Throws Error{kContent} when there is not one whole window, Error{kUsage} for a window below 2.
size_t WindowCount(size_t ids, size_t window, size_t max_windows);

// Cuts `ids` into floor(n / window) windows, takes the first `max_windows` of them (0 = all).
// With a `reference` also compares, as Reference::ScoreTokens. Throws what WindowCount throws.
PerplexityResult PerplexityOf(const Scorer& scorer, std::span<const int32_t> ids, size_t window,
                              size_t max_windows, Reference* reference = nullptr);

}  // namespace lowbit
