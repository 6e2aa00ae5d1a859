// SPDX-License-Identifier: Apache-2.0
// For tests of this room.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "lowbit/calib/statistics.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit::calib_testing {

// Integers from -8 to 8: sums of their products are exact in every order.
inline Matrix SmallIntegers(size_t rows, size_t cols, uint32_t seed = 1) {
  Matrix matrix = RandomMatrix(rows, cols, seed, 3.0f);
  for (size_t i = 0; i < rows * cols; ++i) {
    matrix.data()[i] = std::clamp(std::round(matrix.data()[i]), -8.0f, 8.0f);
  }
  return matrix;
}

inline StatisticsOrigin SomeOrigin(uint64_t tokens = 5000) {
  return {std::string(64, 'a'), std::string(64, 'b'), "0.1.0+test", tokens};
}

// Bit for bit.
inline void ExpectSame(const InputStatistics& a, const InputStatistics& b) {
  EXPECT_EQ(a.width, b.width);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.sum_abs, b.sum_abs);
  EXPECT_EQ(a.max_abs, b.max_abs);
  ASSERT_EQ(a.gram.size(), b.gram.size());
  EXPECT_TRUE(std::equal(a.gram.data(), a.gram.data() + a.gram.size(), b.gram.data()));
  EXPECT_EQ(a.samples.most(), b.samples.most());
  EXPECT_EQ(a.samples.first(), b.samples.first());
  EXPECT_EQ(a.samples.stride(), b.samples.stride());
  const MatView<const float> rows = a.samples.rows(), others = b.samples.rows();
  ASSERT_EQ(rows.rows, others.rows);
  EXPECT_TRUE(std::equal(rows.data, rows.data + rows.rows * rows.cols, others.data));
}

}  // namespace lowbit::calib_testing
