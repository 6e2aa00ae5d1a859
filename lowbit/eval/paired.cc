// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/paired.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "lowbit/base/error.h"
#include "lowbit/base/random.h"
#include "lowbit/eval/mean.h"

namespace lowbit {
namespace {

constexpr size_t kResamples = 5000;
constexpr uint64_t kSeed = 0;
constexpr double kNormal975 = 1.959963984540054;  // 97.5 % quantile of the normal distribution

double ShareOf(std::span<const uint8_t> hits) {
  return static_cast<double>(std::accumulate(hits.begin(), hits.end(), size_t{0})) /
         static_cast<double>(hits.size());
}

// Of `tosses` of a fair coin, at least as uneven as `fewer` of one side: 2 Σ_{i <= fewer} C(tosses, i) / 2^tosses.
double ExactCoin(size_t fewer, size_t tosses) {
  const auto log_term = [&](size_t i) {
    const auto n = static_cast<double>(tosses), k = static_cast<double>(i);
    return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1) - n * std::log(2.0);
  };
  const double log_largest = log_term(fewer);
  double sum = 0;  // in units of the largest term, the last
  for (size_t i = 0; i <= fewer; ++i) sum += std::exp(log_term(i) - log_largest);
  return std::min(1.0, 2 * sum * std::exp(log_largest));
}

// Fills interval and p. `difference_of` is given the n pairs of a resample, as indices.
template <class DifferenceOf>
void Bootstrap(PairedDifference& result, const DifferenceOf& difference_of) {
  LOWBIT_ASSERT(result.n >= 2);
  std::vector<double> differences(kResamples);
  std::vector<uint32_t> picked(result.n);
  SplitMix64 random(kSeed);
  for (double& difference : differences) {
    for (uint32_t& i : picked) i = static_cast<uint32_t>(random.Below(result.n));
    difference = difference_of(picked);
  }
  std::ranges::sort(differences);
  result.low = QuantileOfSorted(differences, 0.025);
  result.high = QuantileOfSorted(differences, 0.975);
  const auto not_above =
      static_cast<size_t>(std::ranges::count_if(differences, [](double d) { return d <= 0; }));
  const auto not_below =
      static_cast<size_t>(std::ranges::count_if(differences, [](double d) { return d >= 0; }));
  const double tail = static_cast<double>(std::min(not_above, not_below) + 1) / (kResamples + 1);
  // Few pairs that all point one way resample to nothing else; their signs alone would do so by chance once in 2^(n-1).
  result.p = std::min(1.0, std::max(2 * tail, std::exp2(1 - static_cast<double>(result.n))));
}

}  // namespace

Flips CountFlips(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  LOWBIT_ASSERT(a.size() == b.size());
  Flips flips;
  for (size_t i = 0; i < a.size(); ++i) {
    flips.lost += a[i] > b[i] ? 1 : 0;
    flips.gained += b[i] > a[i] ? 1 : 0;
  }
  return flips;
}

PairedDifference McNemar(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  LOWBIT_ASSERT(!a.empty());
  const Flips flips = CountFlips(a, b);
  PairedDifference result{.a = ShareOf(a), .b = ShareOf(b), .n = a.size()};
  result.p = ExactCoin(std::min(flips.lost, flips.gained), flips.both());
  const auto n = static_cast<double>(a.size() + 2);
  const double lost = static_cast<double>(flips.lost + 1) / n,
               gained = static_cast<double>(flips.gained + 1) / n;
  const double middle = gained - lost;
  const double width = kNormal975 * std::sqrt((lost + gained - middle * middle) / n);
  result.low = std::max(-1.0, middle - width);
  result.high = std::min(1.0, middle + width);
  return result;
}

PairedDifference BootstrapShares(std::span<const uint8_t> a, std::span<const uint8_t> b) {
  LOWBIT_ASSERT(a.size() == b.size());
  PairedDifference result{.a = ShareOf(a), .b = ShareOf(b), .n = a.size()};
  std::vector<int32_t> changes(a.size());
  for (size_t i = 0; i < a.size(); ++i) changes[i] = int32_t{b[i]} - int32_t{a[i]};
  Bootstrap(result, [&](std::span<const uint32_t> picked) {
    int64_t sum = 0;
    for (const uint32_t i : picked) sum += changes[i];
    return static_cast<double>(sum) / static_cast<double>(picked.size());
  });
  return result;
}

PairedDifference BootstrapPerplexities(std::span<const double> a, std::span<const double> b,
                                       std::span<const double> weights) {
  LOWBIT_ASSERT(a.size() == b.size() && a.size() == weights.size());
  std::vector<uint32_t> all(a.size());
  std::iota(all.begin(), all.end(), 0u);
  const auto perplexity = [&](std::span<const double> losses, std::span<const uint32_t> picked) {
    double sum = 0, weight = 0;
    for (const uint32_t i : picked) {
      sum += weights[i] * losses[i];
      weight += weights[i];
    }
    return std::exp(sum / weight);
  };
  PairedDifference result{.a = perplexity(a, all), .b = perplexity(b, all), .n = a.size()};
  Bootstrap(result,
            [&](std::span<const uint32_t> picked) { return perplexity(b, picked) - perplexity(a, picked); });
  return result;
}

}  // namespace lowbit
