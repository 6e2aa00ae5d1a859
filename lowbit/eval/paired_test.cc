// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/paired.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "lowbit/base/random.h"

namespace lowbit {
namespace {

using Hits = std::vector<uint8_t>;

struct Pairs {
  Hits a, b;
};

Pairs Counts(size_t both, size_t lost, size_t gained, size_t neither) {
  Pairs pairs;
  const auto add = [&](size_t count, uint8_t of_a, uint8_t of_b) {
    pairs.a.insert(pairs.a.end(), count, of_a);
    pairs.b.insert(pairs.b.end(), count, of_b);
  };
  add(both, 1, 1);
  add(lost, 1, 0);
  add(gained, 0, 1);
  add(neither, 0, 0);
  return pairs;
}

TEST(Paired, McNemarCountsCoins) {
  const Pairs pairs = Counts(50, 10, 2, 38);
  EXPECT_EQ(CountFlips(pairs.a, pairs.b), (Flips{10, 2}));
  const PairedDifference d = McNemar(pairs.a, pairs.b);
  EXPECT_DOUBLE_EQ(d.a, 0.60);
  EXPECT_DOUBLE_EQ(d.b, 0.52);
  EXPECT_EQ(d.n, 100u);
  EXPECT_NEAR(d.p, 2.0 * (1 + 12 + 66) / 4096, 1e-12);
  EXPECT_TRUE(d.IsSignificant());
  // Bonett and Price with 11 and 3 of 102.
  const double middle = (3.0 - 11.0) / 102;
  const double width = 1.959963984540054 * std::sqrt((14.0 / 102 - middle * middle) / 102);
  EXPECT_NEAR(d.low, middle - width, 1e-12);
  EXPECT_NEAR(d.high, middle + width, 1e-12);
}

TEST(Paired, McNemarIsTheSameTheOtherWayRound) {
  const Pairs pairs = Counts(5, 7, 4, 3);
  const PairedDifference there = McNemar(pairs.a, pairs.b), back = McNemar(pairs.b, pairs.a);
  EXPECT_DOUBLE_EQ(there.p, back.p);
  EXPECT_DOUBLE_EQ(there.low, -back.high);
  EXPECT_FALSE(there.IsSignificant());
}

TEST(Paired, NoFlipsAreNoDifferenceButNotCertainty) {
  const Pairs pairs = Counts(30, 0, 0, 10);
  const PairedDifference d = McNemar(pairs.a, pairs.b);
  EXPECT_EQ(d.p, 1);
  EXPECT_LT(d.low, 0);
  EXPECT_GT(d.high, 0);
  const PairedDifference even = McNemar(Counts(3, 4, 4, 1).a, Counts(3, 4, 4, 1).b);
  EXPECT_EQ(even.p, 1);
}

TEST(Paired, ManyFlipsDoNotOverflow) {
  const Pairs pairs = Counts(4000, 3000, 2800, 4200);
  // The normal approximation with continuity correction: (|3000 - 2800| - 1) / sqrt(5800).
  const double z = 199 / std::sqrt(5800.0);
  EXPECT_NEAR(McNemar(pairs.a, pairs.b).p, std::erfc(z / std::sqrt(2.0)), 1e-4);
}

TEST(Paired, BootstrapOfSharesHasTheWidthOfTheNormalApproximation) {
  const Pairs pairs = Counts(300, 60, 20, 120);
  const PairedDifference d = BootstrapShares(pairs.a, pairs.b);
  EXPECT_DOUBLE_EQ(d.difference(), -0.08);
  const double sd = std::sqrt(80.0 / 500 - 0.08 * 0.08), width = 1.96 * sd / std::sqrt(500.0);
  EXPECT_NEAR(d.low, -0.08 - width, width * 0.1);
  EXPECT_NEAR(d.high, -0.08 + width, width * 0.1);
  EXPECT_LT(d.p, 0.001);
  const PairedDifference again = BootstrapShares(pairs.a, pairs.b);
  EXPECT_EQ(d.low, again.low);
  EXPECT_EQ(d.p, again.p);
}

TEST(Paired, EqualLossesAreNoDifference) {
  const std::vector<double> losses = {3, 4, 5, 3.5}, weights(4, 1.0);
  const PairedDifference d = BootstrapPerplexities(losses, losses, weights);
  EXPECT_EQ(d.low, 0);
  EXPECT_EQ(d.high, 0);
  EXPECT_EQ(d.p, 1);
  EXPECT_DOUBLE_EQ(d.a, std::exp(15.5 / 4));
}

// The windows differ by far more than the models do: apart they could not be told from one another.
TEST(Paired, PerplexitiesAreComparedWindowByWindow) {
  std::vector<double> a, b;
  SplitMix64 random(7);
  for (int i = 0; i < 40; ++i) {
    a.push_back(2 + static_cast<double>(random.Below(1000)) / 500);
    b.push_back(a.back() + 0.01 + static_cast<double>(random.Below(100)) / 10000);
  }
  const std::vector<double> weights(40, 1.0);
  const PairedDifference d = BootstrapPerplexities(a, b, weights);
  EXPECT_GT(d.low, 0);
  EXPECT_LT(d.low, d.difference());
  EXPECT_GT(d.high, d.difference());
  EXPECT_TRUE(d.IsSignificant());
}

TEST(Paired, WeightsAreWords) {
  const std::vector<double> a = {1, 3}, b = {2, 3}, weights = {3, 1};
  const PairedDifference d = BootstrapPerplexities(a, b, weights);
  EXPECT_DOUBLE_EQ(d.a, std::exp(1.5));
  EXPECT_DOUBLE_EQ(d.b, std::exp(2.25));
}

// Three windows can all point one way by chance once in four.
TEST(Paired, FewPairsProveLittle) {
  const std::vector<double> a = {3, 4, 5}, b = {3.1, 4.1, 5.1}, weights(3, 1.0);
  EXPECT_DOUBLE_EQ(BootstrapPerplexities(a, b, weights).p, 0.25);
}

}  // namespace
}  // namespace lowbit
