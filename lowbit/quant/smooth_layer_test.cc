// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/smooth_layer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lowbit/kernels/backend.h"
#include "lowbit/quant/awq_fold.h"
#include "lowbit/quant/rounding.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

std::vector<float> ColumnMaxima(MatView<const float> x) {
  std::vector<float> largest(x.cols);
  for (size_t r = 0; r < x.rows; ++r) {
    for (size_t j = 0; j < x.cols; ++j) largest[j] = std::max(largest[j], std::fabs(x.Row(r)[j]));
  }
  return largest;
}

TEST(SmoothScales, AlphaDecidesWhoGetsTheSize) {
  const Matrix x = RandomMatrix(9, 6, 1), w = RandomMatrix(4, 6, 2);
  const std::vector<float> of_x = ColumnMaxima(x.view()), of_w = ColumnMaxima(w.view());
  const std::vector<float> all = SmoothScales(of_x, of_w, 1), none = SmoothScales(of_x, of_w, 0);
  for (size_t j = 0; j < 6; ++j) {
    EXPECT_NEAR(of_x[j] / all[j], 1, 1e-6);   // max|x / s|
    EXPECT_NEAR(of_w[j] * none[j], 1, 1e-6);  // max|W s|
  }
}

TEST(SmoothScales, AChannelThatWasNeverUsedGetsTheLeast) {
  EXPECT_EQ(SmoothScales(std::vector{0.0f, 4.0f}, std::vector{2.0f, 0.0f}, 0.5),
            (std::vector{1e-5f, 2 / std::sqrt(1e-5f)}));
}

// docs/methods.md; computed by the numpy reference.
class WorkedExample : public testing::Test {
 protected:
  static constexpr float kW[3][4] = {
      {.31f, -.12f, .44f, .05f}, {-.27f, .33f, .08f, -.51f}, {.16f, .22f, -.38f, .29f}};
  static constexpr float kX[4][4] = {
      {8, .3f, -.5f, .2f}, {-7, .1f, .4f, -.6f}, {9, -.4f, .2f, .5f}, {6, .6f, -.3f, -.1f}};
  static constexpr double kY[4][3] = {
      {2.234, -2.203, 1.594}, {-2.036, 2.261, -1.424}, {2.951, -2.801, 1.421}, {1.651, -1.395, 1.177}};

  // Mean square of what rounding weights and inputs does to the products.
  double Mse(int bits, bool smooths) const {
    Matrix w(3, 4), x(4, 4), y(4, 3);
    std::copy_n(&kW[0][0], 12, w.data());
    std::copy_n(&kX[0][0], 16, x.data());
    if (smooths) {
      const std::vector<float> scales = SmoothScales(ColumnMaxima(x.view()), ColumnMaxima(w.view()), 0.5);
      ScaleColumns(w.view(), scales);
      for (size_t t = 0; t < 4; ++t) DivideElements(x.view().RowSpan(t), scales);
    }
    const Threads threads(1);
    const WeightSpec spec{.bits = bits,
                          .symmetric = true,
                          .scale_type = DType::kF32,
                          .grid = Grid::kAbsmax,
                          .input_bits = bits};
    auto packed = std::make_shared<PackedTensor>(MakePacked(3, 4, spec));
    RoundRows(w.view(), spec, 0, Place("example"), threads, *packed);
    const auto backend = MakeBackend("cpu", "f32", threads);
    backend->Gemm(x.view(), *backend->Prepare(std::shared_ptr<const PackedTensor>(packed)), {}, y.view());
    double sum = 0;
    for (size_t t = 0; t < 4; ++t) {
      for (size_t o = 0; o < 3; ++o) sum += std::pow(static_cast<double>(y.view().Row(t)[o]) - kY[t][o], 2);
    }
    return sum / 12;
  }
};

TEST_F(WorkedExample, SmoothScales) {
  const float inputs[] = {9, .6f, .5f, .6f}, weights[] = {.31f, .33f, .44f, .51f};
  const std::vector<float> scales = SmoothScales(inputs, weights, 0.5);
  const float want[] = {5.388159f, 1.3484f, 1.066004f, 1.084652f};
  for (size_t j = 0; j < 4; ++j) EXPECT_NEAR(scales[j], want[j], 1e-6);
}

TEST_F(WorkedExample, WeightsAndInputsOf8And4Bits) {
  EXPECT_NEAR(Mse(8, false), 1.523329e-4, 1e-9);
  EXPECT_NEAR(Mse(8, true), 8.349502e-6, 1e-9);
  EXPECT_NEAR(Mse(4, false), 3.180829e-2, 1e-7);
  EXPECT_NEAR(Mse(4, true), 1.494689e-3, 1e-8);
}

}  // namespace
}  // namespace lowbit
