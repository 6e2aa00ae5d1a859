// SPDX-License-Identifier: Apache-2.0
#include "lowbit/calib/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "lowbit/calib/statistics_testing.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

using calib_testing::ExpectSame;
using calib_testing::SmallIntegers;
using testing::HasSubstr;

class Statistics : public testing::Test {
 protected:
  // What one part that begins at `first` sees of rows [first, end).
  InputStatistics Of(const Matrix& rows, size_t first, size_t end, size_t piece = kGramRows) const {
    InputStatistics statistics(rows.cols(), true, 16, first);
    for (size_t t = first; t < end; t += piece) {
      statistics.Add(*backend_, rows.view().Rows(t, std::min(piece, end - t)));
    }
    return statistics;
  }

  Threads threads_{2};
  std::unique_ptr<Backend> backend_ = MakeBackend("cpu", "f32", threads_);
};

TEST_F(Statistics, AreTheSumsOfTheRows) {
  const Matrix rows = SmallIntegers(700, 70);
  const InputStatistics s = Of(rows, 0, 700);
  EXPECT_EQ(s.tokens, 700u);
  for (size_t i = 0; i < 70; ++i) {
    double sum = 0, most = 0;
    for (size_t t = 0; t < 700; ++t) {
      const double value = std::abs(static_cast<double>(rows.view().Row(t)[i]));
      sum += value;
      most = std::max(most, value);
    }
    EXPECT_EQ(s.sum_abs[i], sum);
    EXPECT_EQ(s.mean_abs()[i], sum / 700);
    EXPECT_EQ(s.max_abs[i], static_cast<float>(most));
    for (size_t j = i; j < 70; ++j) {
      double product = 0;
      for (size_t t = 0; t < 700; ++t) {
        product += static_cast<double>(rows.view().Row(t)[i]) * static_cast<double>(rows.view().Row(t)[j]);
      }
      EXPECT_EQ(s.gram[i * 70 + j], product);
    }
  }
  EXPECT_EQ(s.samples.stride(), 64u);
  EXPECT_EQ(s.samples.rows().rows, 11u);
  EXPECT_EQ(s.samples.rows().Row(2)[5], rows.view().Row(128)[5]);
}

TEST_F(Statistics, ARowThatCountsAgainIsInTheGramAlone) {
  const Matrix rows = SmallIntegers(40, 70);
  InputStatistics once(rows.cols()), again(rows.cols());
  once.Add(*backend_, rows.view());
  again.Add(*backend_, rows.view());
  again.AddAgain(*backend_, rows.view().RowSpan(3), 5);
  const float* x = rows.view().Row(3);
  for (size_t i = 0; i < rows.cols(); ++i) {
    for (size_t j = i; j < rows.cols(); ++j) {
      const double more = 5.0 * static_cast<double>(x[i]) * static_cast<double>(x[j]);
      EXPECT_DOUBLE_EQ(again.Gram().Row(i)[j], once.Gram().Row(i)[j] + more);
    }
  }
  EXPECT_EQ(again.tokens, once.tokens);
  EXPECT_EQ(again.sum_abs, once.sum_abs);
}

TEST_F(Statistics, TheDiagonalAloneHasTheBitsOfTheWholeMatrix) {
  for (const char* compute : {"f32", "bf16"}) {
    const auto backend = MakeBackend("cpu", compute, threads_);
    for (const size_t width : {1, 70, 128, 129, 300}) {
      const Matrix rows = RandomMatrix(2 * kGramRows + 37, width);
      InputStatistics whole(width, GramPart::kFull), diagonal(width, GramPart::kDiagonal);
      for (InputStatistics* s : {&whole, &diagonal}) {
        s->Add(*backend, rows.view());
        s->Add(*backend, rows.view().Rows(0, 5));
        InputStatistics more(width, s->part);
        more.Add(*backend, rows.view().Rows(300, 700));
        s->Merge(more);
        s->RequireFinite("tap");
      }
      for (size_t j = 0; j < width; ++j) EXPECT_EQ(diagonal.SumOfSquares(j), whole.SumOfSquares(j)) << j;
      EXPECT_EQ(diagonal.sum_abs, whole.sum_abs);
      EXPECT_THROW(diagonal.Merge(whole), Error);
      diagonal.gram[0] = std::numeric_limits<double>::infinity();
      EXPECT_THROW(diagonal.RequireFinite("tap"), Error);
    }
  }
}

TEST_F(Statistics, DoNotDependOnHowRowsCome) {
  const Matrix rows = RandomMatrix(3 * kGramRows + 77, 40, 5);
  ExpectSame(Of(rows, 0, rows.rows()), Of(rows, 0, rows.rows(), 3 * kGramRows));
}

// Sums of small integers are exact, so that merging may not change a bit.
TEST_F(Statistics, MergedPartsAreTheWhole) {
  const Matrix rows = SmallIntegers(2000, 33);
  InputStatistics merged = Of(rows, 0, 500);
  merged.Merge(Of(rows, 500, 1100));
  merged.Merge(Of(rows, 1100, 2000));
  ExpectSame(merged, Of(rows, 0, 2000));
}

TEST_F(Statistics, MergedRoundedSumsAreCloseToTheWholeAndTheSameEachTime) {
  const Matrix rows = RandomMatrix(3000, 20, 3);
  const auto merged = [&] {
    InputStatistics sum = Of(rows, 0, 1000);
    sum.Merge(Of(rows, 1000, 1700));
    sum.Merge(Of(rows, 1700, 3000));
    return sum;
  };
  const InputStatistics whole = Of(rows, 0, 3000), first = merged();
  ExpectSame(first, merged());
  EXPECT_EQ(first.max_abs, whole.max_abs);
  for (size_t i = 0; i < 20; ++i) {
    EXPECT_NEAR(first.sum_abs[i], whole.sum_abs[i], 1e-11 * whole.sum_abs[i]);
    // f32 sums of 512 rows: blocks lie differently.
    EXPECT_NEAR(first.gram[i * 20 + i], whole.gram[i * 20 + i], 1e-5 * whole.gram[i * 20 + i]);
  }
}

TEST_F(Statistics, PartsThatDoNotBelongTogetherAreRefused) {
  const Matrix rows = SmallIntegers(100, 8), wider = SmallIntegers(100, 9);
  InputStatistics s = Of(rows, 0, 40);
  const auto error_of = [&](const InputStatistics& part) -> std::string {
    try {
      s.Merge(part);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConflict);
      return error.message();
    }
    return "accepted";
  };
  EXPECT_THAT(error_of(Of(wider, 40, 60)), HasSubstr("a width of 9, expected 8"));
  EXPECT_THAT(error_of(Of(rows, 41, 60)), HasSubstr("begins at token 41, expected 40"));
  EXPECT_THAT(error_of(InputStatistics(8, false, 16, 40)), HasSubstr("a Gram matrix of 0, expected 64"));
  EXPECT_THAT(error_of(InputStatistics(8, true, 4, 40)), HasSubstr("sample rows up to 4, expected 16"));
  EXPECT_EQ(s.tokens, 40u);
}

TEST_F(Statistics, WithoutTokensMeansAreZero) {
  const InputStatistics s(3);
  EXPECT_THAT(s.mean_abs(), testing::ElementsAre(0.0, 0.0, 0.0));
  s.RequireFinite("tap");
}

TEST_F(Statistics, WhatIsNotFiniteIsNamed) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (const bool with_gram : {true, false}) {
      Matrix rows = SmallIntegers(20, 8);
      rows.view().Row(7)[5] = bad;
      InputStatistics s(8, with_gram);
      s.Add(*backend_, rows.view());
      try {
        s.RequireFinite("model.layers.0.mlp_in");
        ADD_FAILURE() << "accepted";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kNumeric);
        EXPECT_THAT(error.what(), HasSubstr("model.layers.0.mlp_in: channel 5: "));
      }
    }
  }
}

TEST_F(Statistics, OfAModelMergeTapByTap) {
  const Matrix rows = SmallIntegers(100, 8);
  const auto part = [&](size_t first, size_t end, uint64_t expert0) {
    ModelStatistics s;
    s.origin = calib_testing::SomeOrigin();
    s.taps.emplace("model.layers.0.attn_in", Of(rows, first, end));
    s.expert_tokens["model.layers.0."] = {expert0, 1};
    return s;
  };
  ModelStatistics sum = part(0, 30, 7);
  sum.Merge(part(30, 100, 5));
  ExpectSame(sum.taps.at("model.layers.0.attn_in"), Of(rows, 0, 100));
  EXPECT_THAT(sum.expert_tokens.at("model.layers.0."), testing::ElementsAre(12, 2));

  ModelStatistics other = part(100, 100, 0);
  other.taps.clear();
  other.taps.emplace("model.layers.1.attn_in", Of(rows, 0, 30));
  sum.Merge(std::move(other));
  EXPECT_EQ(sum.taps.size(), 2u);

  const auto error_of = [&](ModelStatistics s) -> std::string {
    try {
      sum.Merge(std::move(s));
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConflict);
      return error.what();
    }
    return "accepted";
  };
  other = part(100, 100, 0);
  other.origin.weights = "else";
  EXPECT_THAT(error_of(std::move(other)), HasSubstr("made with weights else, expected "));
  EXPECT_THAT(error_of(part(99, 100, 0)), HasSubstr("model.layers.0.attn_in: "));
  other = part(100, 100, 0);
  other.expert_tokens["model.layers.0."] = {1, 2, 3};
  EXPECT_THAT(error_of(std::move(other)), HasSubstr("experts in model.layers.0. 3, expected 2"));
}

}  // namespace
}  // namespace lowbit
