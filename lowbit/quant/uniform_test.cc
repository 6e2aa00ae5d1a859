// SPDX-License-Identifier: Apache-2.0
// The range search weighted by importance, against plain loops in double.
#include "lowbit/quant/uniform.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "lowbit/quant/rounding.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

constexpr UniformRule kSearched[] = {UniformRule::kGptqAsym, UniformRule::kGptqSym, UniformRule::kAwqAsym,
                                     UniformRule::kAwqSym};

std::vector<float> Gaussian(size_t n, uint32_t seed) {
  const Matrix m = RandomMatrix(1, n, seed);
  return {m.data(), m.data() + n};
}

// Spread over orders of magnitude, as the inputs of a real layer are.
std::vector<float> Importance(size_t n, uint32_t seed) {
  std::vector<float> h = Gaussian(n, seed);
  for (float& x : h) x = std::exp(2 * x);
  return h;
}

double WeightedError(const UniformQuantizer& quantizer, std::span<const float> w, std::span<const float> h,
                     GroupParams params) {
  std::vector<uint8_t> codes(w.size());
  quantizer.Encode(w, params, codes.data());
  double error = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const double value = static_cast<double>(params.scale) * (codes[i] - params.zero), d = value - w[i];
    error += h[i] * d * d;
  }
  return error;
}

// What the search looks through, written out: rule `rule` on a range shrunk to p, zero points beside it or the
// grid upside down.
double LeastError(UniformRule rule, int bits, DType type, const std::vector<float>& w,
                  const std::vector<float>& h) {
  const UniformQuantizer plain(rule, bits, type);
  double least = std::numeric_limits<double>::infinity();
  for (int i = 0; i < 60; ++i) {
    const auto p = static_cast<float>(1 - i / 100.0);
    const auto [lo, hi] = std::minmax_element(w.begin(), w.end());
    const std::vector<float> ends = {p * *lo, p * *hi};
    const GroupParams middle = plain.Choose(ends);
    for (const int variant : {0, -1, 1}) {
      GroupParams params = middle;
      if (Row(rule).symmetric) {
        params.scale *= variant < 0 ? -1.0f : 1.0f;
      } else {
        if (params.zero + variant < 0 || params.zero + variant >= 1 << bits) continue;
        params.zero = static_cast<uint8_t>(params.zero + variant);
      }
      least = std::min(least, WeightedError(plain, w, h, params));
    }
  }
  return least;
}

TEST(WeightedRange, FindsTheBestOfItsCandidatesAndRefitsIt) {
  double found = 0, candidates = 0;
  for (const UniformRule rule : kSearched) {
    for (int bits = 2; bits <= 8; ++bits) {
      for (const size_t n : {1, 2, 7, 31, 64, 65, 128, 200}) {
        for (const DType type : {DType::kF16, DType::kF32}) {
          const auto seed = static_cast<uint32_t>(100 * n + static_cast<size_t>(bits));
          const std::vector<float> w = Gaussian(n, seed), h = Importance(n, seed + 1);
          const UniformQuantizer quantizer(rule, bits, type, RangeSearch::kHdiag);
          const GroupParams params = quantizer.Choose(w, h);
          EXPECT_EQ(params.scale, RoundTo(type, params.scale));
          const double got = WeightedError(quantizer, w, h, params),
                       want = LeastError(rule, bits, type, w, h);
          double size = 0;
          for (size_t i = 0; i < n; ++i) size += static_cast<double>(h[i]) * w[i] * w[i];
          // Candidates are judged in f32: among near-equal ones another may win, and an error of 0 has noise.
          EXPECT_LE(got, want * (1 + 1e-4) + size * 1e-12) << Row(rule).name << " " << bits << " " << n;
          if (n > 30 && bits == 2) found += got / want, candidates += 1;
        }
      }
    }
  }
  EXPECT_LT(found / candidates, 0.97);  // the scale that fits best is on no grid
}

TEST(WeightedRange, OnlyRatiosOfImportanceMatter) {
  const std::vector<float> w = Gaussian(100, 1), h = Importance(100, 2);
  const UniformQuantizer quantizer(UniformRule::kGptqAsym, 3, DType::kF32, RangeSearch::kHdiag);
  const GroupParams params = quantizer.Choose(w, h);
  for (const float factor : {0x1p-90f, 0x1p80f}) {  // its squares are far outside of f32
    std::vector<float> scaled = h;
    for (float& x : scaled) x *= factor;
    const GroupParams again = quantizer.Choose(w, scaled);
    EXPECT_EQ(again.scale, params.scale);
    EXPECT_EQ(again.zero, params.zero);
  }
}

TEST(WeightedRange, DeadInputsCountAllWeightsTheSame) {
  for (const UniformRule rule : kSearched) {
    const std::vector<float> w = Gaussian(90, 3), ones(90, 1.0f), zeros(90, 0.0f);
    const UniformQuantizer quantizer(rule, 2, DType::kF16, RangeSearch::kHdiag);
    const GroupParams equal = quantizer.Choose(w, ones), dead = quantizer.Choose(w, zeros),
                      none = quantizer.Choose(w);
    EXPECT_EQ(dead.scale, equal.scale);
    EXPECT_EQ(dead.zero, equal.zero);
    EXPECT_EQ(none.scale, equal.scale);
    EXPECT_EQ(none.zero, equal.zero);
    // Not the range of the weights: the search did look.
    EXPECT_LT(std::abs(equal.scale), UniformQuantizer(rule, 2, DType::kF16).Choose(w).scale);
  }
}

TEST(WeightedRange, AColumnThatOutweighsAllOthersIsAlmostExact) {
  std::vector<float> w = Gaussian(64, 5), h(64, 1e-6f);
  w[17] = 0.77f;
  h[17] = 1;
  for (const UniformRule rule : kSearched) {
    const UniformQuantizer quantizer(rule, 3, DType::kF32, RangeSearch::kHdiag);
    const GroupParams params = quantizer.Choose(w, h);
    uint8_t code = 0;
    quantizer.Encode({&w[17], 1}, params, &code);
    EXPECT_NEAR(params.scale * static_cast<float>(code - params.zero), 0.77, 1e-3) << Row(rule).name;
  }
}

TEST(WeightedRange, TurnsASymmetricGridWhereTheLargeWeightsArePositive) {
  // 2 bits have the levels -2s, -s, 0 and s: only a negative s reaches 2 on the positive side.
  const std::vector<float> w = {2, 1, 0, -1, 2, 1}, h(6, 1.0f);
  for (const UniformRule rule : {UniformRule::kGptqSym, UniformRule::kAwqSym}) {
    const UniformQuantizer quantizer(rule, 2, DType::kF32, RangeSearch::kHdiag);
    const GroupParams params = quantizer.Choose(w, h);
    EXPECT_NEAR(params.scale, -1, 1e-6) << Row(rule).name;
    EXPECT_NEAR(WeightedError(quantizer, w, h, params), 0, 1e-10) << Row(rule).name;
  }
}

TEST(WeightedRange, KeepsAConstantGroupThatTheAwqRuleLoses) {
  for (const float c : {0.7f, -0.7f, 3e-8f, 0.0f}) {
    const std::vector<float> w(40, c), h = Importance(40, 6);
    const UniformQuantizer quantizer(UniformRule::kAwqAsym, 4, DType::kF32, RangeSearch::kHdiag);
    const GroupParams params = quantizer.Choose(w, h);
    std::vector<uint8_t> codes(40);
    quantizer.Encode(w, params, codes.data());
    // Without the refit 1e-5 or 0 would be left of 0.7.
    EXPECT_NEAR(params.scale * static_cast<float>(codes[0] - params.zero), c, std::abs(c) * 1e-6 + 1e-7);
  }
}

TEST(WeightedRange, ReportsAScaleThatDoesNotFit) {
  const std::vector<float> w = {-1e6f, 1e6f}, h = {1, 2};
  const UniformQuantizer quantizer(UniformRule::kGptqAsym, 2, DType::kF16, RangeSearch::kHdiag);
  EXPECT_FALSE(std::isfinite(quantizer.Choose(w, h).scale));
}

TEST(WeightedRange, HoldsWeightsOfExtremeSize) {
  for (const float size : {1e-42f, 1e-30f, 1e30f}) {
    std::vector<float> w = Gaussian(50, 7);
    const std::vector<float> h = Importance(50, 8);
    for (float& x : w) x *= size;
    for (const UniformRule rule : {UniformRule::kGptqAsym, UniformRule::kGptqSym}) {
      const UniformQuantizer plain(rule, 3, DType::kF32), searched(rule, 3, DType::kF32, RangeSearch::kHdiag);
      const GroupParams params = searched.Choose(w, h);
      EXPECT_TRUE(std::isfinite(params.scale) && params.scale != 0) << size;
      EXPECT_LE(WeightedError(searched, w, h, params), WeightedError(plain, w, h, plain.Choose(w))) << size;
    }
  }
}

TEST(WeightedRange, LowersTheWeightedErrorClearlyAtFewBits) {
  for (const UniformRule rule : kSearched) {
    double minmax = 0, weighted = 0;
    for (uint32_t seed = 0; seed < 20; ++seed) {
      const std::vector<float> w = Gaussian(128, 10 + seed), h = Importance(128, 100 + seed);
      const UniformQuantizer plain(rule, 2, DType::kF16), searched(rule, 2, DType::kF16, RangeSearch::kHdiag);
      minmax += WeightedError(plain, w, h, plain.Choose(w));
      weighted += WeightedError(searched, w, h, searched.Choose(w, h));
    }
    EXPECT_LT(weighted, 0.6 * minmax) << Row(rule).name;
  }
}

TEST(RoundRows, GivesEveryGroupTheImportanceOfItsColumns) {
  const Matrix w = RandomMatrix(9, 150, 11);  // groups of 64, 64 and 22
  const std::vector<float> h = Importance(150, 12);
  const WeightSpec spec{.bits = 3, .group_size = 64, .range = RangeSearch::kHdiag};
  PackedTensor packed = MakePacked(9, 150, spec);
  RoundRows(w.view(), spec, 0, Place("test"), Threads(2), packed, h);
  const UniformQuantizer quantizer(spec);
  for (size_t r = 0; r < 9; ++r) {
    for (size_t k = 0; k < 3; ++k) {
      const size_t size = std::min<size_t>(64, 150 - 64 * k);
      const GroupParams want =
          quantizer.Choose(w.view().RowSpan(r).subspan(64 * k, size), std::span(h).subspan(64 * k, size));
      EXPECT_EQ(packed.scales[3 * r + k], want.scale);
      EXPECT_EQ(packed.zeros[3 * r + k], want.zero);
    }
  }
}

}  // namespace
}  // namespace lowbit
