// SPDX-License-Identifier: Apache-2.0
// Two models on the same questions, or the same windows of a text: is one better by more than chance? Standard
// errors of each alone hide it: both find the same questions hard. docs/evaluation.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace lowbit {

// `b` against `a` on n pairs.
struct PairedDifference {
  double a = 0, b = 0;       // the metric of each
  double low = 0, high = 0;  // 95 % interval of b - a
  double p = 1;              // two-sided: how often chance alone would make them differ as much
  size_t n = 0;

  double difference() const { return b - a; }
  bool IsSignificant() const { return p < 0.05; }
};

// Answers that changed sides.
struct Flips {
  size_t lost = 0;    // right in `a` only
  size_t gained = 0;  // right in `b` only

  size_t both() const { return lost + gained; }
  bool operator==(const Flips&) const = default;
};
Flips CountFlips(std::span<const uint8_t> a, std::span<const uint8_t> b);

// Shares of hits (1) among misses (0), n > 0 of each, in the same order. p: McNemar's test, exact: the flips are tosses
// of a fair coin. Interval: Bonett and Price's ("Adjusted Wald confidence interval for a difference of binomial
// proportions based on paired data", 2012), which also holds where there are few flips or none.
PairedDifference McNemar(std::span<const uint8_t> a, std::span<const uint8_t> b);

// The same shares by a paired bootstrap: 95 % between percentiles of 5,000 resamples of the pairs under a fixed seed;
// p from the share of them on the far side of 0. n >= 2.
PairedDifference BootstrapShares(std::span<const uint8_t> a, std::span<const uint8_t> b);

// exp of the weighted mean loss, the same way. Windows: losses are means over their tokens, all weights equal; pages of
// a word perplexity: losses are means over their words, weights are words. n >= 2 of each, weights > 0.
PairedDifference BootstrapPerplexities(std::span<const double> a, std::span<const double> b,
                                       std::span<const double> weights);

}  // namespace lowbit
