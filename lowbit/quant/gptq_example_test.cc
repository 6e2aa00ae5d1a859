// SPDX-License-Identifier: Apache-2.0
// GPTQ against worked examples that were computed in double (docs/methods.md).
#include <gtest/gtest.h>

#include <cmath>

#include "lowbit/quant/gptq_fixture.h"

namespace lowbit {
namespace {

// The worked example: 2 bits, 6 inputs of 4 columns.

const std::vector<std::vector<double>> kWeights = {{-.05, -.75, .9, -1}, {.95, .95, .2, -.05}};
const std::vector<std::vector<double>> kInputs = {{1, .5, 0, -1},  {.5, 1, .5, 0}, {-1, 0, 1, .5},
                                                  {2, 1, .5, -.5}, {0, -1, 1, 1},  {1.5, .5, -.5, -1}};

TEST(GptqExample, FactorIsTheOneOfTheReference) {
  GramMatrix gram = GramOf(kInputs, 2.0 / 6);
  EXPECT_NEAR(gram.At(0, 0), 2.833333, 1e-6);
  EXPECT_NEAR(gram.At(0, 3), -1.333333, 1e-6);
  const GptqFactor factor = Factor(gram);
  ASSERT_EQ(factor.state, GramState::kFactored);
  EXPECT_EQ(factor.damp, 0.01);
  EXPECT_TRUE(factor.order.empty() && factor.dead.empty());
  const float row[] = {1.020082f, -.142275f, -.705986f, 1.398939f},
              diagonal[] = {1.020082f, 1.529869f, 1.246149f, .919844f};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(factor.u.view().Row(0)[i], row[i], 2e-6);
    EXPECT_NEAR(factor.u.view().Row(i)[i], diagonal[i], 2e-6);
    EXPECT_EQ(factor.importance[i], static_cast<float>(gram.At(i, i)));
    for (size_t j = 0; j < i; ++j) EXPECT_EQ(factor.u.view().Row(i)[j], 0);
  }
}

struct Expected {
  const char* name;
  GptqCase setup;
  std::vector<std::vector<double>> values;  // Ŵ; may be fewer rows
  double loss, error;                       // Σ e²; tr(E H Eᵀ), 0 = not given
};

void ExpectThat(const Matrix& w, const GramMatrix& gram, const Expected& want) {
  SCOPED_TRACE(want.name);
  const GptqResult got = RunGptq(w, gram, want.setup);
  for (size_t r = 0; r < want.values.size(); ++r) {
    for (size_t c = 0; c < w.cols(); ++c)
      EXPECT_NEAR(got.values.view().Row(r)[c], want.values[r][c], 3e-6) << r << ", " << c;
  }
  EXPECT_NEAR(got.loss, want.loss, 1e-5 * std::max(1.0, want.loss));
  if (want.error != 0) {
    EXPECT_NEAR(GramError(w, got.values, gram), want.error, 1e-5 * std::max(1.0, want.error));
  }
}

TEST(GptqExample, RoundsAsTheReference) {
  const Matrix w = ToMatrix(kWeights);
  const GramMatrix gram = GramOf(kInputs, 2.0 / 6);
  const WeightSpec channel{.bits = 2, .scale_type = DType::kF32},
      pairs{.bits = 2, .group_size = 2, .scale_type = DType::kF32};
  const GptqOptions act{.act_order = true}, stale{.fresh_range = false};
  for (const Expected& want : {
           Expected{"channel",
                    {channel, {}},
                    {{0, -.633333, .633333, -.633333}, {1, 1, 0, 0}},
                    0.077381,
                    0.073287},
           Expected{"act_order",
                    {channel, act},
                    {{0, -.633333, .633333, -.633333}, {1, 1, .333333, 0}},
                    0.067783,
                    0},
           Expected{"groups of 2, block 2",
                    {pairs, stale, 2},
                    {{0, -.75, .595535, -.595535}, {.95, .95, .166667, 0}},
                    0.096372,
                    0},
           Expected{"groups of 2, fresh",
                    {pairs, {}},
                    {{0, -.75, .595535, -.595535}, {.95, .95, .166667, 0}},
                    0.096372,
                    0},
           Expected{"groups of 2, stale",
                    {pairs, stale, 4},
                    {{0, -.75, .633333, -.633333}, {.95, .95, .166667, 0}},
                    0.075812,
                    0},
       }) {
    ExpectThat(w, gram, want);
  }
}

// The formula layer: 4 rows, 16 columns, 64 inputs, 3 bits in groups of 8.

struct FormulaLayer {
  Matrix w{4, 16};
  GramMatrix gram;
  FormulaLayer() : gram(16) {
    for (size_t i = 0; i < 4; ++i) {
      for (size_t j = 0; j < 16; ++j) {
        const auto a = static_cast<double>(i), b = static_cast<double>(j);
        w.view().Row(i)[j] = static_cast<float>(std::sin(1 + 1.3 * a + 0.7 * b + 0.11 * a * b));
      }
    }
    std::vector<std::vector<double>> x(64, std::vector<double>(16));
    for (size_t t = 0; t < 64; ++t) {
      for (size_t j = 0; j < 16; ++j) {
        const auto a = static_cast<double>(t), b = static_cast<double>(j);
        x[t][j] = std::cos(0.37 * a + 1.1 * b + 0.05 * a * b) * static_cast<double>(1 + j % 5);
      }
    }
    gram = GramOf(x, 1);
  }
};

TEST(GptqFormulaLayer, RoundsAsTheReference) {
  const FormulaLayer layer;
  const WeightSpec g8{.bits = 3, .group_size = 8, .scale_type = DType::kF32};
  WeightSpec mse = g8, symmetric = g8, channel = g8;
  mse.range = RangeSearch::kMse;
  symmetric.symmetric = true;
  channel.group_size = 0;
  const GptqOptions act{.act_order = true}, act_static{.act_order = true, .static_groups = true};
  for (const Expected& want : {
           Expected{"none",
                    {g8, {}, 8},
                    {{.843941, 1.125254, .843941, .281314, -.562627, -.843941, -.843941, -.281314, .350274,
                      1.050822, 1.401096, .700548, 0, -.700548, -1.050822, -1.050822}},
                    74.029215,
                    63.971435},
           Expected{"act_order",
                    {g8, act, 8},
                    {{.598494, .897741, .784874, .261625, -.523249, -.897741, -.897741, -.523249, .261625,
                      .784874, .897741, .598494, 0, -.784874, -1.046499, -.897741}},
                    42.206653,
                    36.597914},
           Expected{"act_order, static",
                    {g8, act_static, 8},
                    {{.562627, .843941, .562627, 0, -.562627, -.562627, -.562627, -.281314, .281471, .844412,
                      .844412, .562941, 0, -.562941, -.844412, -.562941}},
                    88.497029,
                    77.512076},
           Expected{"mse",
                    {mse, {}, 8},
                    {{.843941, 1.125254, .843941, .281314, -.562627, -.843941, -.843941, -.281314, .346771,
                      1.040314, 1.387085, .693543, 0, -.693543, -1.040314, -1.040314}},
                    87.266573,
                    77.620885},
           Expected{"symmetric",
                    {symmetric, {}, 8},
                    {{.849998, .849998, .566666, 0, -.566666, -.566666, -.566666, -.283333, .262703, .788109,
                      .788109, .788109, .262703, -.525406, -.788109, -.525406}},
                    66.436878,
                    55.508502},
           Expected{"channel",
                    {channel, {}, 8},
                    {{.8454, 1.127201, .8454, .2818, -.5636, -.8454, -.8454, -.2818, .2818, .8454, .8454,
                      .5636, 0, -.5636, -.8454, -.5636}},
                    83.702443,
                    70.942929},
       }) {
    ExpectThat(layer.w, layer.gram, want);
  }
}

}  // namespace
}  // namespace lowbit
