// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/rounding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "lowbit/quant/uniform.h"

namespace lowbit {
namespace {

using ::testing::AllOf;
using ::testing::Ge;
using ::testing::HasSubstr;
using ::testing::Le;

Matrix Gaussian(size_t rows, size_t cols, uint32_t seed, float sigma = 0.02f) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0, sigma);
  Matrix m(rows, cols);
  for (size_t i = 0; i < rows * cols; ++i) m.data()[i] = normal(rng);
  return m;
}

PackedTensor Rounded(const Matrix& w, const WeightSpec& spec, int threads = 2) {
  PackedTensor packed = MakePacked(w.rows(), w.cols(), spec);
  RoundRows(w.view(), spec, 0, Place("test"), Threads(threads), packed);
  Validate(packed, Place("test"));
  return packed;
}

Matrix Values(const PackedTensor& packed) {
  Matrix values(packed.rows, packed.cols);
  Dequantize(packed, 0, values.view());
  return values;
}

double SnrDb(const Matrix& w, const PackedTensor& packed) {
  const RoundingError e = MeasureError(w.view(), packed, 0, Threads(1));
  return 10 * std::log10(e.weight / e.error);
}

// Every spec a recipe can ask for, with groups of `group`.
std::vector<WeightSpec> AllSpecs(size_t group, DType type) {
  std::vector<WeightSpec> specs = {{.bits = 1, .group_size = group, .scale_type = type}};
  for (int bits = 2; bits <= 8; ++bits) {
    for (const UniformRuleRow& rule : UniformRules()) {
      for (const RangeSearch range : {RangeSearch::kMinMax, RangeSearch::kMse, RangeSearch::kHdiag}) {
        if (!HasRangeSearch(rule.grid, range)) continue;
        specs.push_back({.bits = bits,
                         .group_size = group,
                         .symmetric = rule.symmetric,
                         .scale_type = type,
                         .grid = rule.grid,
                         .range = range});
      }
    }
  }
  return specs;
}

TEST(Rtn, ErrorIsAtMostHalfAStepEndsOfTheRangeIncluded) {
  const Matrix w = Gaussian(40, 200, 1);
  for (const WeightSpec& spec : AllSpecs(64, DType::kF32)) {
    // A search gives up the ends of the range; the full grid lacks the end opposite to its extreme.
    // it.
    if (spec.bits == 1 || spec.range != RangeSearch::kMinMax || spec.grid == Grid::kFull) continue;
    const PackedTensor packed = Rounded(w, spec);
    const Matrix values = Values(packed);
    for (size_t i = 0; i < w.rows() * w.cols(); ++i) {
      const size_t r = i / w.cols(), group = r * packed.Groups() + i % w.cols() / 64;
      // w/s is exact to half an ulp of at most 255: 2^-17 of a step.
      EXPECT_LE(std::abs(w.data()[i] - values.data()[i]), packed.scales[group] * (0.5 + 0x1p-15))
          << Name(spec.grid) << " " << spec.Text();
    }
  }
}

TEST(Rtn, Fp16ScalesCostAtMostTheirOwnRoundingAtTheEndsOfTheRange) {
  const Matrix w = Gaussian(40, 200, 2);
  for (int bits = 2; bits <= 8; ++bits) {
    const PackedTensor packed = Rounded(w, {.bits = bits, .group_size = 64});
    const Matrix values = Values(packed);
    // The scale moves by up to 2^-11 of itself, the end of the range by up to 2^bits times that.
    const double bound = 0.5 + std::ldexp(1.0, bits - 11);
    for (size_t i = 0; i < w.rows() * w.cols(); ++i) {
      const size_t group = i / w.cols() * packed.Groups() + i % w.cols() / 64;
      EXPECT_LE(std::abs(w.data()[i] - values.data()[i]), packed.scales[group] * bound) << bits;
    }
  }
}

TEST(Rtn, RoundingWhatIsAlreadyRoundedChangesNothing) {
  const Matrix w = Gaussian(1, 96, 3);
  for (const UniformRuleRow& rule : UniformRules()) {
    for (int bits = 2; bits <= 8; ++bits) {
      const UniformQuantizer quantizer(rule.rule, bits, DType::kF16);
      const GroupParams params = quantizer.Choose(w.view().RowSpan(0));
      std::vector<uint8_t> once(96), twice(96);
      quantizer.Encode(w.view().RowSpan(0), params, once.data());
      std::vector<float> values(96);
      for (size_t i = 0; i < 96; ++i) {
        values[i] = params.scale * (static_cast<float>(once[i]) - static_cast<float>(params.zero));
      }
      quantizer.Encode(values, params, twice.data());
      EXPECT_EQ(once, twice) << rule.name << " " << bits;
    }
  }
}

TEST(Rtn, RowOfZerosStaysZero) {
  Matrix w = Gaussian(3, 70, 4);
  std::fill_n(w.view().Row(1), 70, 0.0f);
  for (const DType type : {DType::kF16, DType::kF32}) {
    for (const WeightSpec& spec : AllSpecs(32, type)) {
      const Matrix values = Values(Rounded(w, spec));
      for (const float v : values.view().RowSpan(1)) EXPECT_EQ(v, 0) << Name(spec.grid) << " " << spec.Text();
    }
  }
}

TEST(Rtn, OneBitNeverMakesARowOfZeros) {
  std::mt19937 rng(5);
  for (int trial = 0; trial < 500; ++trial) {
    const float sigma = std::pow(10.0f, static_cast<float>(rng() % 12) - 9);  // 1e-9 vanishes in F16
    const Matrix w = Gaussian(1, 1 + rng() % 40, rng(), sigma);
    const Matrix values = Values(Rounded(w, {.bits = 1, .group_size = 1 + rng() % 20}));
    EXPECT_TRUE(std::any_of(values.data(), values.data() + w.cols(), [](float v) { return v != 0; }));
  }
}

TEST(Rtn, OneBitErrorIsVarianceMinusSquaredDistance) {
  // Squared error of n weights = n · (var - a²) (docs/methods.md).
  const Matrix w = Gaussian(1, 128, 6, 1.0f);
  const PackedTensor packed = Rounded(w, {.bits = 1, .scale_type = DType::kF32});
  double mean = 0, variance = 0;
  for (const float x : w.view().RowSpan(0)) mean += x / 128.0;
  for (const float x : w.view().RowSpan(0)) variance += (x - mean) * (x - mean) / 128.0;
  const double a = packed.scales[0];
  EXPECT_NEAR(MeasureError(w.view(), packed, 0, Threads(1)).error, 128 * (variance - a * a), 1e-4);
}

TEST(Rtn, OneBitTakesTheUpperLevelAtTheMean) {
  Matrix w(1, 3);
  w.data()[0] = -1;
  w.data()[1] = 0;
  w.data()[2] = 1;
  EXPECT_EQ(Rounded(w, {.bits = 1}).codes, std::vector<uint8_t>{0b110});
}

TEST(Rtn, ConstantGroupIsExactWithTheGptqGridAndLostWithTheAwqGrid) {
  Matrix w(2, 4);
  std::fill_n(w.view().Row(0), 4, 0.7f);
  std::fill_n(w.view().Row(1), 4, -0.3f);
  for (int bits = 2; bits <= 8; ++bits) {
    const WeightSpec gptq{.bits = bits, .scale_type = DType::kF32};
    WeightSpec awq = gptq;
    awq.grid = Grid::kAwq;
    const Matrix exact = Values(Rounded(w, gptq)), lost = Values(Rounded(w, awq));
    for (size_t i = 0; i < 8; ++i) {
      EXPECT_NEAR(exact.data()[i], w.data()[i], 0x1p-24) << bits;  // s = c/M, ŵ = s·M: an ulp at most
      EXPECT_LT(std::abs(lost.data()[i]), 1.1e-5f) << bits;
    }
  }
}

TEST(Rtn, SymmetricGptqGridClipsAtHalfTheRangeWithoutNegativeWeights) {
  // A quirk of the reference that we keep: without a negative weight the range is [0, max], the zero point is
  // in the middle.
  Matrix w(1, 16);
  for (size_t i = 0; i < 16; ++i) w.data()[i] = static_cast<float>(i + 1);
  const Matrix values = Values(Rounded(w, {.bits = 4, .symmetric = true}));
  EXPECT_LT(*std::max_element(values.data(), values.data() + 16), 0.55f * 16);
}

TEST(Rtn, Int4GaussianSnrIsInsideTheBand) {
  // N(0,1), 128 values: range about 5.2σ, step 5.2/15, noise step²/12: 19.9 dB. Outside the band = wrong
  // scale.
  const Matrix w = Gaussian(400, 128, 7, 1.0f);
  EXPECT_THAT(SnrDb(w, Rounded(w, {.bits = 4, .group_size = 128})), AllOf(Ge(19.5), Le(20.5)));
}

TEST(Rtn, EveryBitIsWorthAboutSixDecibels) {
  const Matrix w = Gaussian(200, 128, 8);
  double before = SnrDb(w, Rounded(w, {.bits = 3, .group_size = 64}));
  for (int bits = 4; bits <= 8; ++bits) {
    const double snr = SnrDb(w, Rounded(w, {.bits = bits, .group_size = 64}));
    EXPECT_THAT(snr - before, AllOf(Ge(5.8), Le(7.0)))
        << bits;  // 6.02 and the gain of 2^b over 2^b - 1 steps
    before = snr;
  }
}

TEST(Rtn, RangeSearchLowersTheErrorWhereBitsAreFew) {
  const Matrix w = Gaussian(200, 128, 9);
  for (const int bits : {2, 3}) {
    for (const bool symmetric : {false, true}) {
      WeightSpec spec{.bits = bits, .group_size = 128, .symmetric = symmetric};
      const double plain = SnrDb(w, Rounded(w, spec));
      spec.range = RangeSearch::kMse;
      EXPECT_GT(SnrDb(w, Rounded(w, spec)), plain + 0.5) << spec.Text();
    }
  }
}

TEST(Rtn, RangeSearchGoesDownToAFifthOfTheRange) {
  // Thousands of weights on the levels of the last range tried, 0.21, and one far away.
  Matrix w(1, 6001);
  for (size_t i = 0; i < 6000; ++i) w.data()[i] = 0.07f * static_cast<float>(1 + i % 3);
  w.data()[6000] = 1;
  const PackedTensor packed = Rounded(w, {.bits = 2, .scale_type = DType::kF32, .range = RangeSearch::kMse});
  EXPECT_EQ(packed.scales[0], 0.21f / 3);
}

Matrix OneRow(std::initializer_list<float> values) {
  Matrix w(1, values.size());
  std::copy(values.begin(), values.end(), w.data());
  return w;
}

TEST(Rtn, FullGridHitsTheExtremeExactlyAndMayHaveANegativeScale) {
  const WeightSpec spec{.bits = 4, .symmetric = true, .grid = Grid::kFull};
  const PackedTensor packed = Rounded(OneRow({-0.5f, 0.25f, 1.0f, 0.125f}), spec);
  EXPECT_EQ(packed.scales[0], -0.125f);
  EXPECT_EQ(Values(packed).data()[2], 1.0f);
  EXPECT_EQ(Rounded(OneRow({-1.0f, 0.5f}), spec).scales[0], 0.125f);
  EXPECT_EQ(Rounded(OneRow({-1.0f, 1.0f}), spec).scales[0],
            -0.125f);  // of two extremes the positive is exact
}

TEST(Rtn, AbsmaxGridNeverUsesTheLowestCode) {
  // The scale 1e-5 / 127 is rounded down to 2^-24, the end of fp16: 1e-5 is then 167 steps from 0.
  const WeightSpec absmax{.bits = 8, .symmetric = true, .grid = Grid::kAbsmax};
  WeightSpec rot = absmax;
  rot.grid = Grid::kRot;
  EXPECT_EQ(Rounded(OneRow({-1e-5f, 1e-5f}), absmax).codes, (std::vector<uint8_t>{1, 255}));
  EXPECT_EQ(Rounded(OneRow({-1e-5f, 1e-5f}), rot).codes, (std::vector<uint8_t>{0, 255}));
}

TEST(RoundRows, GroupLargerThanTheRowIsTheWholeRow) {
  const Matrix w = Gaussian(5, 50, 11);
  const PackedTensor wide = Rounded(w, {.bits = 4, .group_size = 128}), channel = Rounded(w, {.bits = 4});
  EXPECT_EQ(wide.group_size, 50u);
  EXPECT_EQ(wide.codes, channel.codes);
  EXPECT_EQ(wide.scales, channel.scales);
}

TEST(RoundRows, PiecesAndThreadsDoNotChangeABit) {
  const Matrix w = Gaussian(700, 333, 12);  // several pieces of work for each thread
  for (const WeightSpec& spec : {WeightSpec{.bits = 3, .group_size = 64}, WeightSpec{.bits = 1}}) {
    const PackedTensor one = Rounded(w, spec, 1);
    for (const int threads : {2, 3}) {
      const PackedTensor many = Rounded(w, spec, threads);
      EXPECT_EQ(one.codes, many.codes);
      EXPECT_EQ(one.scales, many.scales);
      EXPECT_EQ(one.zeros, many.zeros);
      EXPECT_EQ(one.means, many.means);
      EXPECT_EQ(MeasureError(w.view(), one, 0, Threads(1)).error,
                MeasureError(w.view(), one, 0, Threads(threads)).error);
    }
    PackedTensor pieces = MakePacked(700, 333, spec);
    for (size_t first = 0; first < 700; first += 90) {
      RoundRows(w.view().Rows(first, std::min<size_t>(90, 700 - first)), spec, first, Place("test"),
                Threads(1), pieces);
    }
    EXPECT_EQ(one.codes, pieces.codes);
    EXPECT_EQ(one.scales, pieces.scales);
  }
}

std::string MessageOfRounding(const Matrix& w, const WeightSpec& spec) {
  try {
    Rounded(w, spec);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kNumeric);
    return e.what();
  }
  return "no error";
}

TEST(RoundRows, ScaleThatDoesNotFitNamesTensorRowGroupAndRemedy) {
  Matrix w = Gaussian(3, 8, 13);
  w.view().Row(2)[5] = 1e6f;  // scale of 3 bits: 142857, F16 ends at 65504
  EXPECT_EQ(MessageOfRounding(w, {.bits = 3, .group_size = 4}),
            "test: row 2: group 1: the scale is too large for F16, expected weights of ordinary size "
            "(hint: scale=f32 in the recipe stores scales as F32)");
  EXPECT_EQ(MessageOfRounding(w, {.bits = 3, .group_size = 4, .scale_type = DType::kF32}), "no error");
  EXPECT_THAT(MessageOfRounding(w, {.bits = 1, .group_size = 4}), HasSubstr("the mean is too large for F16"));
}

TEST(RoundRows, RangeThatOverflowsF32IsAnErrorToo) {
  Matrix w = Gaussian(1, 8, 14);
  w.data()[0] = 3e38f;
  w.data()[1] = -3e38f;
  for (const bool search : {false, true}) {
    const WeightSpec spec{
        .bits = 4, .scale_type = DType::kF32, .range = search ? RangeSearch::kMse : RangeSearch::kMinMax};
    EXPECT_THAT(MessageOfRounding(w, spec), HasSubstr("the scale is too large for F32"));
  }
}

TEST(RoundRows, ScalesBelowFp16BecomeItsSmallestNumber) {
  const Matrix w = Gaussian(20, 64, 15, 1e-9f);
  for (const WeightSpec& spec : AllSpecs(32, DType::kF16)) {
    for (const float s : Rounded(w, spec).scales)
      EXPECT_GE(std::abs(s), 0x1p-24f) << Name(spec.grid) << spec.Text();
  }
}

TEST(RoundRows, TheSmallestWeightsOfF32StillHaveAScale) {
  Matrix w(1, 2);
  w.data()[0] = std::numeric_limits<float>::denorm_min();
  w.data()[1] = 0;
  for (const WeightSpec& spec : AllSpecs(0, DType::kF32)) {
    if (spec.bits == 1) continue;
    for (const float s : Rounded(w, spec).scales) EXPECT_NE(s, 0) << Name(spec.grid) << spec.Text();
  }
}

TEST(MeasureError, IsTheFrobeniusNorm) {
  Matrix w(2, 2);
  const float values[] = {3, 0, 0, 4};
  std::copy_n(values, 4, w.data());
  PackedTensor zeros = MakePacked(2, 2, {.bits = 4, .symmetric = true});
  zeros.scales = {0, 0};
  const RoundingError e = MeasureError(w.view(), zeros, 0, Threads(1));
  EXPECT_EQ(e.weight, 25);
  EXPECT_EQ(e.error, 25);
  EXPECT_EQ(e.Relative(), 1);
  EXPECT_EQ(RoundingError{}.Relative(), 0);
}

TEST(RoundToValues, IsRoundRowsAndDequantizeBitForBit) {
  const Matrix w = Gaussian(7, 150, 21), importance = Gaussian(1, 150, 22);
  std::vector<float> h(importance.data(), importance.data() + 150);
  for (float& x : h) x *= x;
  for (const size_t group : {0, 64, 200}) {
    for (const WeightSpec& spec : AllSpecs(group, DType::kF16)) {
      PackedTensor packed = MakePacked(7, 150, spec);
      RoundRows(w.view(), spec, 0, Place("test"), Threads(2), packed, h);
      const Matrix want = Values(packed);
      Matrix got(7, 150);
      std::copy_n(w.data(), 7 * 150, got.data());
      RoundToValues(got.view(), spec, 0, Place("test"), Threads(2), got.view(), h);  // in place
      EXPECT_TRUE(std::equal(got.data(), got.data() + 7 * 150, want.data()))
          << Name(spec.grid) << spec.Text();
    }
  }
}

TEST(RoundToValues, NamesTheGroupWhoseScaleDoesNotFit) {
  Matrix w = Gaussian(3, 64, 23);
  w.view().Row(2)[40] = 1e6f;
  Matrix values(3, 64);
  try {
    RoundToValues(w.view(), {.bits = 2, .group_size = 32}, 10, Place("file").Tensor("t"), Threads(2),
                  values.view());
    ADD_FAILURE() << "1e6 / 3 is no F16";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kNumeric);
    EXPECT_THAT(e.what(), HasSubstr("file: tensor 't': row 12: group 1: the scale is too large"));
  }
}

}  // namespace
}  // namespace lowbit
