// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "lowbit/kernels/backend.h"
#include "lowbit/kernels/cpu/onednn.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

constexpr double kUntouched = -7;  // below the diagonal

// Gram of `x` on top of 1 everywhere, rows in calls of at most `piece`.
std::vector<double> Gram(const Backend& backend, MatView<const float> x, size_t piece) {
  std::vector<double> gram(x.cols * x.cols, kUntouched);
  const MatView<double> view(gram.data(), x.cols, x.cols);
  for (size_t i = 0; i < x.cols; ++i) std::fill(view.Row(i) + i, view.Row(i) + x.cols, 1.0);
  for (size_t t = 0; t < x.rows; t += piece) backend.AddGram(x.Rows(t, std::min(piece, x.rows - t)), view);
  return gram;
}

class GramOf : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Compute, GramOf, testing::Values("f32", "bf16"));

TEST_P(GramOf, AgreesWithRefOverAwkwardSizesAndLeavesTheLowerTriangle) {
  const Threads threads(2);
  const auto cpu = MakeBackend("cpu", GetParam(), threads), ref = MakeBackend("ref", "f32", threads);
  // Rounding a factor to bf16 moves it by up to 2^-8, a product by 2^-7 and a little; f32 sums of 512 err by some 2^-24 √512.
  const double unit = std::string_view(GetParam()) == "bf16" ? 0x1.1p-7 : 0x1p-18;
  for (const auto [rows, width] : {std::array<size_t, 2>{1, 1},
                                   {1, 17},
                                   {511, 17},
                                   {512, 1},
                                   {513, 65},
                                   {3, 192},
                                   {1025, 193},
                                   {2, 1536},
                                   {40, 576},
                                   {4200, 16}}) {
    const Matrix x = RandomMatrix(rows, width, 1);
    const std::vector<double> got = Gram(*cpu, x.view(), rows), want = Gram(*ref, x.view(), rows);
    for (size_t i = 0; i < width; ++i) {
      for (size_t j = 0; j < width; ++j) {
        const double size = std::sqrt(want[i * width + i] * want[j * width + j]);  // >= Σ |x_i x_j|
        const double w = want[i * width + j], allowed = j < i ? 0 : unit * size;
        ASSERT_NEAR(got[i * width + j], w, allowed) << rows << "x" << width << " at " << i << ", " << j;
      }
    }
  }
}

TEST_P(GramOf, HasTheSameBitsForAnyThreadsAndForCallsAtMultiplesOf512Rows) {
  const Matrix x = RandomMatrix(3000, 200, 2);
  const Threads one(1), three(3);
  const auto alone = MakeBackend("cpu", GetParam(), one), many = MakeBackend("cpu", GetParam(), three);
  const std::vector<double> want = Gram(*alone, x.view(), x.rows());
  EXPECT_EQ(Gram(*many, x.view(), x.rows()), want);
  for (const size_t piece : {kGramRows, 3 * kGramRows}) EXPECT_EQ(Gram(*many, x.view(), piece), want);
}

TEST_P(GramOf, ReadsRowsThatAreApart) {
  const Threads threads(2);
  const auto cpu = MakeBackend("cpu", GetParam(), threads);
  const Matrix wide = RandomMatrix(700, 50, 3);
  Matrix dense(700, 30);
  for (size_t t = 0; t < 700; ++t) std::copy_n(wide.view().Row(t) + 7, 30, dense.view().Row(t));
  const MatView<const float> part(wide.data() + 7, 700, 30, 50);
  EXPECT_EQ(Gram(*cpu, part, 700), Gram(*cpu, dense.view(), 700));
}

TEST_P(GramOf, CarriesWhatIsNotFinite) {
  const Threads threads(2);
  const auto cpu = MakeBackend("cpu", GetParam(), threads);
  Matrix x = RandomMatrix(10, 5, 4);
  x.data()[3 * 5 + 2] = NAN;
  const std::vector<double> gram = Gram(*cpu, x.view(), 10);
  EXPECT_TRUE(std::isnan(gram[2 * 5 + 2]) && std::isnan(gram[0 * 5 + 2]));
  EXPECT_TRUE(std::isfinite(gram[0]));
}

TEST(Gram, RoundsFactorsToBF16WhereTheProcessorMultipliesIt) {
  if (!onednn::SupportsBF16()) GTEST_SKIP() << "no bf16 products here";
  const Threads threads(1);
  Matrix x(1, 1);
  x.data()[0] = 1 + 0x1p-9f;  // rounds to 1
  EXPECT_EQ(Gram(*MakeBackend("cpu", "bf16", threads), x.view(), 1)[0], 2.0);
}

}  // namespace
}  // namespace lowbit
