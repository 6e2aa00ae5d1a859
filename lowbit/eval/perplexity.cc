// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/perplexity.h"

#include <algorithm>
#include <cmath>

#include "lowbit/eval/mean.h"

namespace lowbit {

size_t WindowCount(size_t ids, size_t window, size_t max_windows) {
  if (window < 2)
    throw Error(ErrorKind::kUsage, fmt::format("a window of {} tokens, expected at least 2", window));
  const size_t count = ids / window;
  if (count == 0) {
    throw Error(ErrorKind::kContent,
                fmt::format("the text has {} tokens, fewer than one window of {}", ids, window))
        .Hint("take a longer text or a smaller --window");
  }
  return max_windows > 0 ? std::min(count, max_windows) : count;
}

PerplexityResult PerplexityOf(const Scorer& scorer, std::span<const int32_t> ids, size_t window,
                              size_t max_windows, Reference* reference) {
  const size_t count = WindowCount(ids.size(), window, max_windows);
  std::vector<ScoreRequest> requests;
  for (size_t w = 0; w < count; ++w) requests.push_back({ids.subspan(w * window, window), 1});
  PerplexityResult result;
  ComparedScores compared = reference != nullptr ? reference->ScoreTokens(scorer, requests)
                                                 : ComparedScores{scorer.ScoreTokens(requests), {}};
  result.divergence = std::move(compared.divergence);
  for (const std::vector<TokenScore>& tokens : compared.scores) {
    double sum = 0;
    for (const TokenScore& token : tokens) sum -= token.log_prob;
    result.window_nll.push_back(sum / static_cast<double>(tokens.size()));
    result.predicted_tokens += tokens.size();
  }
  result.mean_nll = Mean(result.window_nll);
  result.perplexity = std::exp(result.mean_nll);
  // d exp(m) = exp(m) dm: the error of the logarithm, carried over to first order.
  if (const auto error = StdErrorOfMean(result.window_nll)) result.std_error = result.perplexity * *error;
  if (!std::isfinite(result.perplexity)) {
    throw Error(ErrorKind::kNumeric,
                fmt::format("mean loss {} nats: its perplexity is not finite", result.mean_nll));
  }
  return result;
}

}  // namespace lowbit
