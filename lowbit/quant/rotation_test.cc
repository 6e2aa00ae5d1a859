// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/rotation.h"

#include <gtest/gtest.h>

#include "lowbit/tensor/input_form.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

InputStatistics Seen(const Backend& backend, MatView<const float> x, GramPart part) {
  InputStatistics statistics(x.cols, part);
  statistics.Add(backend, x);
  return statistics;
}

Matrix Rotated(MatView<const float> x, size_t block, std::span<const float> scales = {}) {
  Matrix rotated(x.rows, x.cols);
  for (size_t t = 0; t < x.rows; ++t) {
    for (size_t j = 0; j < x.cols; ++j)
      rotated.view().Row(t)[j] = x.Row(t)[j] / (scales.empty() ? 1 : scales[j]);
    RotateRow(rotated.view().RowSpan(t), block);
  }
  return rotated;
}

TEST(RotateGram, IsTheGramMatrixOfRotatedRows) {
  const Threads threads(3);
  const auto backend = MakeBackend("cpu", "f32", threads);
  for (const auto& [columns, block] : {std::pair{8, 8}, {192, 64}, {640, 128}}) {
    const Matrix x = RandomMatrix(40, static_cast<size_t>(columns), 1);
    const auto size = static_cast<size_t>(block);
    InputStatistics is = Seen(*backend, x.view(), GramPart::kFull);
    RotateGram(is.Gram(), size, threads);
    const InputStatistics want = Seen(*backend, Rotated(x.view(), size).view(), GramPart::kFull);
    for (size_t i = 0; i < x.cols(); ++i) {
      for (size_t j = i; j < x.cols(); ++j) ASSERT_NEAR(is.Gram().Row(i)[j], want.Gram().Row(i)[j], 1e-4);
    }
  }
}

TEST(RotatedDiagonal, IsThatOfScaledAndRotatedRowsFromEitherPart) {
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const Matrix x = RandomMatrix(40, 192, 1);
  std::vector<float> scales;
  for (size_t j = 0; j < 192; ++j) scales.push_back(0.5f + 0.01f * static_cast<float>(j));
  const InputStatistics want = Seen(*backend, Rotated(x.view(), 64, scales).view(), GramPart::kDiagonal);
  for (const GramPart part : {GramPart::kDiagonal, GramPart::kFull}) {
    const InputStatistics inputs = Seen(*backend, x.view(), part);
    const InputStatistics is = RotatedDiagonal(inputs, scales, 64);
    EXPECT_EQ(is.tokens, 40u);
    EXPECT_EQ(is.max_abs, inputs.max_abs);
    for (size_t j = 0; j < 192; ++j) ASSERT_NEAR(is.SumOfSquares(j), want.SumOfSquares(j), 1e-4);
  }
}

}  // namespace
}  // namespace lowbit
