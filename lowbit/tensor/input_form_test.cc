// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/input_form.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

TEST(RotationBlock, IsTheLargestPowerOfTwoUpTo128ThatDivides) {
  EXPECT_EQ(RotationBlock(4096), 128u);
  EXPECT_EQ(RotationBlock(576), 64u);
  EXPECT_EQ(RotationBlock(1536), 128u);
  EXPECT_EQ(RotationBlock(96), 32u);
  EXPECT_EQ(RotationBlock(7), 1u);
}

TEST(RotateRow, HasTheEntriesOfAHadamardMatrix) {
  for (const size_t block : {1, 2, 4, 8, 64, 128}) {
    for (size_t i = 0; i < block; ++i) {
      std::vector<float> row(block);
      row[i] = 1;
      RotateRow(row, block);
      for (size_t j = 0; j < block; ++j) {
        const int sign = std::popcount(i & j) % 2 == 0 ? 1 : -1;
        ASSERT_FLOAT_EQ(row[j], static_cast<float>(sign / std::sqrt(static_cast<double>(block))))
            << block << " " << i << " " << j;
      }
    }
  }
}

TEST(RotateRow, IsItsOwnInverseAndKeepsLengths) {
  const Matrix x = RandomMatrix(3, 192, 5);
  Matrix y = RandomMatrix(3, 192, 5);
  for (size_t r = 0; r < 3; ++r) {
    double before = 0, after = 0;
    RotateRow(y.view().RowSpan(r), 64);
    for (size_t j = 0; j < 192; ++j) {
      before += std::pow(x.view().Row(r)[j], 2);
      after += std::pow(y.view().Row(r)[j], 2);
    }
    EXPECT_NEAR(after / before, 1, 1e-6);
    RotateRow(y.view().RowSpan(r), 64);
    for (size_t j = 0; j < 192; ++j) EXPECT_NEAR(y.view().Row(r)[j], x.view().Row(r)[j], 1e-6);
  }
}

struct Rounded {
  float scale;
  std::vector<int> integers;
};
Rounded Round(const std::vector<float>& row, int bits, float fixed_scale = 0) {
  std::vector<int8_t> integers(row.size());
  const float scale = RoundInputs(row, bits, fixed_scale, integers);
  return {scale, {integers.begin(), integers.end()}};
}

TEST(RoundInputs, GivesTheWorkedExamples) {
  const Rounded eight = Round({1.27f, -0.635f, 0.004f, -1.27f}, 8);
  EXPECT_FLOAT_EQ(eight.scale, 0.01f);
  EXPECT_EQ(eight.integers, (std::vector<int>{127, -64, 0, -127}));  // 63.5 to the even 64
  const Rounded four = Round({7, 2.5f, -3.5f, 0.5f}, 4);
  EXPECT_EQ(four.scale, 1);
  EXPECT_EQ(four.integers, (std::vector<int>{7, 2, -4, 0}));  // halves to even
  EXPECT_EQ(Round({0, 0}, 8).integers, (std::vector<int>{0, 0}));
  EXPECT_FLOAT_EQ(Round({0, 0}, 8).scale, 1e-5f / 127);
}

TEST(RoundInputs, HoldsInputsWithinAFixedScale) {
  const Rounded rounded = Round({3, -300, 1.5f}, 4, 0.5f);
  EXPECT_EQ(rounded.scale, 0.5f);
  EXPECT_EQ(rounded.integers, (std::vector<int>{6, -7, 3}));
}

TEST(RoundInputs, SaysThatARowIsNotFinite) {
  for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    EXPECT_FALSE(std::isfinite(Round({1, bad, 2}, 8).scale));
    EXPECT_FALSE(std::isfinite(Round({1, bad, 2}, 8, 0.5f).scale));
  }
}

}  // namespace
}  // namespace lowbit
