// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/perplexity.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lowbit {
namespace {

double Mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Standard error of the mean of independent values.
double StdErrorOfMean(std::span<const double> values, double mean) {
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / (n - 1) / n);
}

}  // namespace

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
                              size_t max_windows) {
  const size_t count = WindowCount(ids.size(), window, max_windows);
  std::vector<ScoreRequest> requests;
  for (size_t w = 0; w < count; ++w) requests.push_back({ids.subspan(w * window, window), 1});
  PerplexityResult result;
  for (const std::vector<TokenScore>& tokens : scorer.ScoreTokens(requests)) {
    double sum = 0;
    for (const TokenScore& token : tokens) sum -= token.log_prob;
    result.window_nll.push_back(sum / static_cast<double>(tokens.size()));
    result.predicted_tokens += tokens.size();
  }
  result.mean_nll = Mean(result.window_nll);
  result.perplexity = std::exp(result.mean_nll);
  // d exp(m) = exp(m) dm: the error of the logarithm, carried over to first order.
  if (count > 1) result.std_error = result.perplexity * StdErrorOfMean(result.window_nll, result.mean_nll);
  if (!std::isfinite(result.perplexity)) {
    throw Error(ErrorKind::kNumeric,
                fmt::format("mean loss {} nats: its perplexity is not finite", result.mean_nll));
  }
  return result;
}

}  // namespace lowbit
