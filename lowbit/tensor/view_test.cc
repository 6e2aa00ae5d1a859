// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/view.h"

#include <gtest/gtest.h>

namespace lowbit {
namespace {

TEST(TensorView, RowsAndColumnsOfEveryRank) {
  struct Case {
    Shape shape;
    size_t count, rows, cols;
  };
  const std::vector<Case> cases = {{{}, 1, 1, 1},         {{5}, 5, 5, 1},    {{0}, 0, 0, 1},
                                   {{2, 3}, 6, 2, 3},     {{0, 3}, 0, 0, 3}, {{3, 0}, 0, 3, 0},
                                   {{2, 3, 4}, 24, 2, 12}};
  for (const Case& c : cases) {
    const TensorView view{DType::kF32, c.shape, {}};
    EXPECT_EQ(view.Count(), c.count) << ShapeText(c.shape);
    EXPECT_EQ(view.Rows(), c.rows) << ShapeText(c.shape);
    EXPECT_EQ(view.Cols(), c.cols) << ShapeText(c.shape);
  }
}

TEST(TensorView, NoElementsCanBeRead) {
  for (const DType type : {DType::kF32, DType::kF16, DType::kBF16})
    EXPECT_TRUE(ToFloatVector({type, {0, 3}, {}}).empty());
}

}  // namespace
}  // namespace lowbit
