// SPDX-License-Identifier: Apache-2.0
// BiLLM: worked examples that were computed in double (docs/methods.md), and what must hold of any matrix.
#include "lowbit/quant/billm.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "lowbit/quant/gptq_fixture.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

struct BillmCase {
  size_t block = kBillmBlock, most_salient = kBillmMostSalient;
  bool exact = false;
  DType scale_type = DType::kF32;
  int threads = 1;
};

struct BillmResult {
  PackedTensor packed;
  Matrix values;  // Ŵ
  BillmLoss loss;

  std::vector<int> Salient() const {
    std::vector<int> flags;
    for (size_t c = 0; c < packed.cols; ++c) flags.push_back(packed.IsSalient(c) ? 1 : 0);
    return flags;
  }
  std::vector<int> TailOf(size_t row) const {
    std::vector<uint8_t> codes(packed.cols);
    UnpackRow(packed.codes.data() + row * packed.RowBytes(), packed.bits, codes);
    std::vector<int> flags;
    for (size_t c = 0; c < packed.cols; ++c) flags.push_back(!packed.IsSalient(c) && codes[c] >= 2 ? 1 : 0);
    return flags;
  }
};

BillmResult RunBillm(const Matrix& w, const GptqFactor& factor, const BillmCase& c) {
  const WeightSpec spec{.bits = 1, .group_size = c.block, .scale_type = c.scale_type, .planes = true};
  const BillmOptions options{.exact = c.exact};
  const Threads threads(c.threads);
  const Place place("weights");
  BillmResult result;
  result.packed = MakePacked(w.rows(), w.cols(), spec);
  result.loss = RoundBillm({w.view(), factor, spec, options, place, threads, c.most_salient}, result.packed);
  Validate(result.packed, Place("packed"));
  result.values = Values(result.packed);
  return result;
}

void ExpectRow(const BillmResult& got, size_t row, const std::vector<double>& want) {
  for (size_t c = 0; c < want.size(); ++c)
    EXPECT_NEAR(got.values.view().Row(row)[c], want[c], 3e-6) << row << ", " << c;
}

TEST(BillmExample, IsTheOneOfTheReference) {
  const Matrix w =
      ToMatrix({{.9, -.1, .2, -.3, .05, 1.2, -.6, .15}, {-1.1, .2, -.15, .4, -.05, .8, .5, -.25}});
  GramMatrix gram(8);
  const double diagonal[] = {4, 1, 1, 1, 1, 3, 1, 1};
  for (size_t i = 0; i < 8; ++i) gram.At(i, i) = diagonal[i];
  const BillmResult got = RunBillm(w, Factor(gram), {.block = 8, .most_salient = 3});
  EXPECT_EQ(got.Salient(), (std::vector<int>{1, 0, 0, 0, 0, 1, 0, 0}));
  for (const size_t row : {0, 1}) EXPECT_EQ(got.TailOf(row), (std::vector<int>{0, 0, 0, 1, 0, 0, 1, 0}));
  ExpectRow(got, 0, {.9, -.025, .175, -.3, -.025, 1.2, -.6, .175});
  ExpectRow(got, 1, {-1.1, .075, -.2, .4, .075, .8, .5, -.2});
  EXPECT_NEAR(got.loss.passed_on, 0.024771, 1e-6);
}

struct FormulaCase {
  bool exact;
  std::vector<double> row;
  double passed_on, error;
};

TEST(BillmFormulaLayer, IsTheOneOfTheReference) {
  Matrix w(4, 16);
  std::vector<std::vector<double>> x(64, std::vector<double>(16));
  for (size_t j = 0; j < 16; ++j) {
    const auto b = static_cast<double>(j);
    for (size_t i = 0; i < 4; ++i) {
      const auto a = static_cast<double>(i);
      w.view().Row(i)[j] = static_cast<float>(std::sin(1 + 1.3 * a + 0.7 * b + 0.11 * a * b));
    }
    for (size_t t = 0; t < 64; ++t) {
      const auto a = static_cast<double>(t);
      x[t][j] = std::cos(0.37 * a + 1.1 * b + 0.05 * a * b) * static_cast<double>(1 + j % 5);
    }
  }
  const GramMatrix gram = GramOf(x, 1);
  const std::vector<FormulaCase> cases = {
      {false,
       {.841471, 1.024344, 1.024344, .094515, -.565596, -.97753, -.501895, -.38055, .820315, .844529, .820315,
        .820315, -.328621, -.644769, -1.014701, -.328621},
       188.28903,
       782.437878},
      {true,
       {.841471, 1.024344, 1.024344, .094515, -.565596, -.97753, -.501895, -.38055, .653114, .842075, .653114,
        .653114, -.351076, -.657091, -1.001713, -.351076},
       217.025719,
       424.883555}};
  for (const FormulaCase& want : cases) {
    SCOPED_TRACE(want.exact);
    const BillmResult got = RunBillm(w, Factor(gram), {.block = 8, .most_salient = 5, .exact = want.exact});
    EXPECT_EQ(got.Salient(), (std::vector<int>{0, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0, 0, 0, 1, 0}));
    EXPECT_EQ(got.TailOf(0), (std::vector<int>{0, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0}));
    ExpectRow(got, 0, want.row);
    EXPECT_NEAR(got.loss.passed_on, want.passed_on, 2e-5 * want.passed_on);
    EXPECT_NEAR(GramError(w, got.values, gram), want.error, 2e-5 * want.error);
  }
}

class BillmSizes : public testing::TestWithParam<std::pair<size_t, size_t>> {
 protected:
  size_t rows() const { return GetParam().first; }
  size_t cols() const { return GetParam().second; }
  Matrix w_ = RandomMatrix(rows(), cols(), 3);
  GramMatrix gram_ = RandomGram(cols(), 2 * cols() + 3, 5);
};
INSTANTIATE_TEST_SUITE_P(Awkward, BillmSizes,
                         testing::Values(std::pair{1, 1}, std::pair{1, 9}, std::pair{5, 127},
                                         std::pair{63, 128}, std::pair{64, 129}, std::pair{65, 40},
                                         std::pair{130, 200}));

TEST_P(BillmSizes, LossIsThatOfTheValues) {
  for (const bool exact : {false, true}) {
    const BillmResult got = RunBillm(w_, Factor(gram_), {.block = 64, .exact = exact});
    const double want = GramError(w_, got.values, gram_.Damped(0.01));
    EXPECT_NEAR(got.loss.output, want, 2e-4 * want) << exact;
    if (exact) {
      EXPECT_NEAR(2 * got.loss.passed_on, want, 2e-4 * want);
    }
  }
}

TEST_P(BillmSizes, ARowOfABlockHasAFewValuesAndSalientColumnsAreWhole) {
  for (const DType type : {DType::kF16, DType::kF32}) {
    const BillmResult got = RunBillm(w_, Factor(gram_), {.block = 64, .scale_type = type});
    for (size_t r = 0; r < rows(); ++r) {
      for (size_t k = 0; k < got.packed.Groups(); ++k) {
        std::set<float> of[2];
        for (size_t c = k * 64; c < std::min(cols(), (k + 1) * 64); ++c)
          of[got.packed.IsSalient(c)].insert(got.values.view().Row(r)[c]);
        EXPECT_LE(of[0].size(), 4u);
        EXPECT_LE(of[1].size(), 4u);
        EXPECT_GE(of[1].size(), 1u);  // k is at least 1
      }
    }
    for (const float s : got.packed.scales) {
      if (type == DType::kF16) {
        EXPECT_EQ(s, ToFloat(ToF16(s)));
      }
    }
  }
}

TEST_P(BillmSizes, NeitherThreadsNorTheScaleOfTheInputsChangeIt) {
  GramMatrix scaled = gram_;
  for (double& v : scaled.values) v *= 8;  // exact
  for (const bool exact : {false, true}) {
    const BillmResult one = RunBillm(w_, Factor(gram_), {.block = 48, .exact = exact, .threads = 1});
    const BillmResult four = RunBillm(w_, Factor(gram_), {.block = 48, .exact = exact, .threads = 4});
    EXPECT_EQ(one.packed.codes, four.packed.codes);
    EXPECT_EQ(one.packed.scales, four.packed.scales);
    EXPECT_EQ(one.packed.salient, four.packed.salient);
    EXPECT_EQ(one.loss.output, four.loss.output);
    EXPECT_EQ(one.loss.passed_on, four.loss.passed_on);
    const BillmResult other = RunBillm(w_, Factor(scaled), {.block = 48, .exact = exact});
    EXPECT_EQ(one.packed.salient, other.packed.salient);
    for (size_t i = 0; i < rows() * cols(); ++i)
      EXPECT_NEAR(one.values.data()[i], other.values.data()[i], 1e-4);
  }
}

// Of inputs that lean on all others a little; not of any: the next blocks get other weights to binarize.
TEST(Billm, ExactUpdatesLoseLess) {
  constexpr size_t kCols = 128, kTokens = 400;
  const Matrix w = RandomMatrix(96, kCols, 11), noise = RandomMatrix(kTokens, kCols, 12),
               mix = RandomMatrix(kCols, kCols, 13, 0.15f);
  std::vector<std::vector<double>> x(kTokens, std::vector<double>(kCols));
  for (size_t t = 0; t < kTokens; ++t) {
    for (size_t c = 0; c < kCols; ++c) {
      x[t][c] = noise.view().Row(t)[c];
      for (size_t i = 0; i < kCols; ++i)
        x[t][c] += static_cast<double>(noise.view().Row(t)[i]) * mix.view().Row(i)[c];
    }
  }
  const GramMatrix gram = GramOf(x, 1);
  const GptqFactor factor = Factor(gram);
  const double diagonal = GramError(w, RunBillm(w, factor, {.block = 64}).values, gram),
               exact = GramError(w, RunBillm(w, factor, {.block = 64, .exact = true}).values, gram);
  EXPECT_LT(exact, 0.95 * diagonal);
}

TEST(Billm, ScalarsInHalfPrecisionCostLittle) {
  const Matrix w = RandomMatrix(64, 128, 13);
  const GramMatrix gram = RandomGram(128, 300, 14);
  const GptqFactor factor = Factor(gram);
  const double f32 = GramError(w, RunBillm(w, factor, {.scale_type = DType::kF32}).values, gram),
               f16 = GramError(w, RunBillm(w, factor, {.scale_type = DType::kF16}).values, gram);
  EXPECT_NEAR(f16, f32, 2e-3 * f32);
}

TEST(Billm, ARowOfZerosStaysZeroAndAConstantRowStaysWhatItIs) {
  Matrix w = RandomMatrix(3, 128, 15);
  for (size_t c = 0; c < 128; ++c) {
    w.view().Row(0)[c] = 0;
    w.view().Row(1)[c] = 0.25f;
  }
  const BillmResult got = RunBillm(w, Factor(RandomGram(128, 300, 16)), {});
  for (size_t c = 0; c < 128; ++c) {
    EXPECT_EQ(got.values.view().Row(0)[c], 0);
    EXPECT_NEAR(got.values.view().Row(1)[c], 0.25f, 1e-6);
  }
}

TEST(Billm, WithoutAFactorColumnsCountAlike) {
  const Matrix w = RandomMatrix(40, 100, 17);
  const GptqFactor none = Factor(GramMatrix(100));
  ASSERT_EQ(none.state, GramState::kNoInputs);
  GramMatrix identity(100);
  for (size_t i = 0; i < 100; ++i) identity.At(i, i) = 1;
  const BillmResult got = RunBillm(w, none, {}), want = RunBillm(w, Factor(identity), {});
  EXPECT_EQ(got.packed.codes, want.packed.codes);
  EXPECT_EQ(got.packed.scales, want.packed.scales);
  EXPECT_NEAR(got.loss.output, GramError(w, got.values, identity), 1e-3);
}

TEST(Billm, DeadColumnsDoNotWeighOnTheOthers) {
  Matrix w = RandomMatrix(40, 64, 18);
  GramMatrix gram = RandomGram(64, 300, 19);
  for (size_t i = 0; i < 64; ++i) gram.At(std::min<size_t>(i, 7), std::max<size_t>(i, 7)) = 0;
  const GptqFactor factor = Factor(gram);
  ASSERT_EQ(factor.dead, (std::vector<uint32_t>{7}));
  const BillmResult before = RunBillm(w, factor, {});
  for (size_t r = 0; r < 40; ++r) w.view().Row(r)[7] = 1e6f;
  const BillmResult after = RunBillm(w, factor, {});
  EXPECT_EQ(before.packed.codes, after.packed.codes);
  EXPECT_EQ(before.packed.scales, after.packed.scales);
  EXPECT_EQ(before.loss.output, after.loss.output);
}

TEST(Billm, AScalarThatDoesNotFitIsAnErrorWithItsPlace) {
  Matrix w = RandomMatrix(70, 256, 20);
  for (size_t c = 128; c < 256; ++c) w.view().Row(66)[c] = 3e6f;
  const GptqFactor factor = Factor(RandomGram(256, 90, 21));
  try {
    RunBillm(w, factor, {.scale_type = DType::kF16, .threads = 3});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kNumeric);
    EXPECT_THAT(e.what(), HasSubstr("weights: row 66: group 1: the mean or scale is too large for F16"));
    EXPECT_THAT(e.what(), HasSubstr("scale=f32"));
  }
  RunBillm(w, factor, {.scale_type = DType::kF32});
}

}  // namespace
}  // namespace lowbit
