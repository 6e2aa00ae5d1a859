// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/row_loops.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <string_view>
#include <vector>

namespace lowbit {
namespace {

std::vector<float> Gaussian(size_t n, uint32_t seed) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal;
  std::vector<float> w(n);
  for (float& x : w) x = normal(rng);
  return w;
}

TEST(RowLoops, EveryTargetGivesTheSameBitsAtEveryLength) {
  const RowLoops &fast = Loops(), &plain = BaselineLoops();
  if (std::string_view(fast.target) == plain.target) GTEST_SKIP() << "this processor runs the baseline only";
  const CodeMap map{0.3f, 7, 0, 15};
  for (size_t n = 1; n <= 200; ++n) {
    const std::vector<float> w = Gaussian(n, static_cast<uint32_t>(n)), v = Gaussian(n, 1000);
    const WeightRange a = fast.range(w.data(), n), b = plain.range(w.data(), n);
    EXPECT_EQ(a.lo, b.lo) << n;
    EXPECT_EQ(a.hi, b.hi) << n;
    EXPECT_EQ(fast.sum(w.data(), n), plain.sum(w.data(), n)) << n;
    EXPECT_EQ(fast.squares(w.data(), n), plain.squares(w.data(), n)) << n;
    EXPECT_EQ(fast.deviation(w.data(), n, 0.1f), plain.deviation(w.data(), n, 0.1f)) << n;
    EXPECT_EQ(fast.squared_distance(w.data(), v.data(), n), plain.squared_distance(w.data(), v.data(), n))
        << n;
    EXPECT_EQ(fast.power_error(w.data(), n, map, 1e300), plain.power_error(w.data(), n, map, 1e300)) << n;
    std::vector<uint8_t> c(n), d(n);
    fast.encode(w.data(), n, map, c.data());
    plain.encode(w.data(), n, map, d.data());
    EXPECT_EQ(c, d) << n;
    fast.encode_signs(w.data(), n, 0.1f, c.data());
    plain.encode_signs(w.data(), n, 0.1f, d.data());
    EXPECT_EQ(c, d) << n;
  }
}

TEST(RowLoops, RangeFindsTheExtremesWhereverTheyStand) {
  for (const size_t n : {1, 31, 32, 33, 64, 95, 96, 128, 129}) {
    for (size_t at = 0; at < n; ++at) {
      std::vector<float> w(n, 0.5f);
      w[at] = 2;
      EXPECT_EQ(Loops().range(w.data(), n).hi, 2);
      w[at] = -2;
      EXPECT_EQ(Loops().range(w.data(), n).lo, -2);
    }
  }
}

TEST(RowLoops, EncodeRoundsHalfToEvenAndClamps) {
  const std::vector<float> w = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 100, -100, std::numeric_limits<float>::max()};
  std::vector<uint8_t> codes(w.size());
  Loops().encode(w.data(), w.size(), {1, 4, 0, 15}, codes.data());
  EXPECT_EQ(codes, (std::vector<uint8_t>{4, 6, 6, 4, 2, 15, 0, 15}));
}

TEST(RowLoops, PowerErrorIsTheSumOfPowers) {
  std::mt19937 rng(5);
  std::uniform_real_distribution<double> exponent(-20, 20);
  for (int i = 0; i < 2000; ++i) {
    const auto w = static_cast<float>(std::pow(10, exponent(rng)));
    // A scale that puts 0 on the only code: the error is w itself.
    const double got = Loops().power_error(&w, 1, {1e38f, 0, 0, 0}, 1e300);
    EXPECT_NEAR(got / std::pow(static_cast<double>(w), 2.4), 1, 1e-12) << w;
  }
  const float zero = 0;
  EXPECT_EQ(Loops().power_error(&zero, 1, {1, 0, 0, 0}, 1e300), 0);
}

TEST(RowLoops, PowerErrorStopsOnlyWhenThereIsEnough) {
  const std::vector<float> w = Gaussian(1000, 3);
  const CodeMap map{0.5f, 2, 0, 3};
  const double all = Loops().power_error(w.data(), w.size(), map, 1e300);
  EXPECT_EQ(Loops().power_error(w.data(), w.size(), map, std::nextafter(all, 1e300)), all);
  EXPECT_GE(Loops().power_error(w.data(), w.size(), map, all / 3), all / 3);
  EXPECT_LT(Loops().power_error(w.data(), w.size(), map, all / 3), all);
}

}  // namespace
}  // namespace lowbit
