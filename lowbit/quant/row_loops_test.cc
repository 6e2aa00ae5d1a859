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
    std::vector<float> h(n);
    for (size_t i = 0; i < n; ++i) h[i] = v[i] * v[i];
    EXPECT_EQ(fast.weighted_error(w.data(), h.data(), n, map, 1e300),
              plain.weighted_error(w.data(), h.data(), n, map, 1e300))
        << n;
    EXPECT_EQ(fast.dot(w.data(), v.data(), n), plain.dot(w.data(), v.data(), n)) << n;
    const ScaleFit e = fast.fit_scale(w.data(), h.data(), n, map),
                   f = plain.fit_scale(w.data(), h.data(), n, map);
    EXPECT_EQ(e.weights, f.weights) << n;
    EXPECT_EQ(e.levels, f.levels) << n;
    std::vector<uint8_t> c(n), d(n);
    fast.encode(w.data(), n, map, c.data());
    plain.encode(w.data(), n, map, d.data());
    EXPECT_EQ(c, d) << n;
    std::vector<float> x(n), y(n);
    fast.decode(c.data(), n, 0.3f, 7, x.data());
    plain.decode(c.data(), n, 0.3f, 7, y.data());
    EXPECT_EQ(x, y) << n;
    EXPECT_EQ(x[0], 0.3f * (static_cast<float>(c[0]) - 7)) << n;
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

TEST(RowLoops, WeightedErrorAndScaleFitAreTheirSums) {
  const CodeMap map{0.25f, 3, 0, 7};
  for (const size_t n : {1, 15, 16, 63, 64, 65, 130}) {
    const std::vector<float> w = Gaussian(n, 7), v = Gaussian(n, 8);
    std::vector<float> h(n);
    for (size_t i = 0; i < n; ++i) h[i] = v[i] * v[i];
    std::vector<uint8_t> codes(n);
    Loops().encode(w.data(), n, map, codes.data());
    double error = 0, weights = 0, levels = 0, product = 0;
    for (size_t i = 0; i < n; ++i) {
      const double level = codes[i] - 3.0, d = level - static_cast<double>(w[i]) / 0.25;
      error += static_cast<double>(h[i]) * d * d;
      weights += static_cast<double>(h[i]) * static_cast<double>(w[i]) * level;
      levels += static_cast<double>(h[i]) * level * level;
      product += static_cast<double>(w[i]) * static_cast<double>(v[i]);
    }
    EXPECT_NEAR(Loops().weighted_error(w.data(), h.data(), n, map, 1e300) / error, 1, 1e-5) << n;
    EXPECT_NEAR(Loops().fit_scale(w.data(), h.data(), n, map).weights, weights,
                1e-12 * static_cast<double>(n))
        << n;
    EXPECT_NEAR(Loops().fit_scale(w.data(), h.data(), n, map).levels, levels, 1e-12 * static_cast<double>(n))
        << n;
    EXPECT_NEAR(Loops().dot(w.data(), v.data(), n), product, 1e-12 * static_cast<double>(n)) << n;
  }
}

TEST(RowLoops, WeightedErrorRoundsTiesToEvenAndStopsOnlyWhenThereIsEnough) {
  // A tie costs the same either way; far outside of the codes the distance is that from the last one.
  const std::vector<float> w = {2.5f, -1e9f, 1e9f}, h = {1, 1e-18f, 1e-18f};
  EXPECT_NEAR(Loops().weighted_error(w.data(), h.data(), 3, {1, 4, 0, 15}, 1e300), 2.25, 1e-6);
  const std::vector<float> x = Gaussian(1000, 3), ones(1000, 1.0f);
  const CodeMap map{0.5f, 2, 0, 3};
  const double all = Loops().weighted_error(x.data(), ones.data(), 1000, map, 1e300);
  EXPECT_EQ(Loops().weighted_error(x.data(), ones.data(), 1000, map, std::nextafter(all, 1e300)), all);
  EXPECT_GE(Loops().weighted_error(x.data(), ones.data(), 1000, map, all / 3), all / 3);
  EXPECT_LT(Loops().weighted_error(x.data(), ones.data(), 1000, map, all / 3), all);
}

}  // namespace
}  // namespace lowbit
