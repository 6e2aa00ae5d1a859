// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/awq_clip.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "lowbit/quant/awq.h"
#include "lowbit/quant/awq_fold.h"
#include "lowbit/quant/awq_testing.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

using awq_testing::Layer;
using ::testing::HasSubstr;

Matrix Clip(const Layer& layer, std::span<const float> scales, const Matrix& scaled, const WeightSpec& spec,
            int count = 2) {
  const Threads threads(count);
  const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
  const std::vector<double> gram = layer.Gram();
  const size_t n = scaled.cols();
  return SearchClip(scaled.view(), {{gram.data(), n, n}, layer.inputs.rows(), scales}, spec, *backend,
                    Place("test"));
}

// Errors of the ten bounds of one group of a row, by going through every `stride`-th token as the original does.
std::vector<double> DirectErrors(const Layer& layer, const Matrix& scaled, std::span<const float> scales,
                                 WeightSpec spec, size_t row, size_t begin, size_t end, size_t stride) {
  spec.group_size = 0;
  const std::span<const float> w = scaled.view().RowSpan(row).subspan(begin, end - begin);
  float absmax = 0;
  for (const float x : w) absmax = std::max(absmax, std::abs(x));
  std::vector<double> errors;
  for (int i = 0; i < 10; ++i) {
    const float bound = absmax * static_cast<float>(1 - i / 20.0);
    Matrix clamped(1, w.size());
    for (size_t j = 0; j < w.size(); ++j) clamped.data()[j] = std::clamp(w[j], -bound, bound);
    RoundToValues(clamped.view(), spec, 0, Place("test"), Threads(1), clamped.view());
    double error = 0;
    for (size_t t = 0; t < layer.inputs.rows(); t += stride) {
      double y = 0;
      for (size_t j = 0; j < w.size(); ++j) {
        y += static_cast<double>(layer.inputs.view().Row(t)[begin + j]) / scales[begin + j] *
             (static_cast<double>(clamped.data()[j]) - static_cast<double>(w[j]));
      }
      error += y * y;
    }
    errors.push_back(error);
  }
  return errors;
}

size_t StepOf(float bound, float absmax) {
  return static_cast<size_t>(std::lround((1 - bound / absmax) * 20));
}

void ExpectExample(const Layer& layer, const WeightSpec& spec, const Json& want) {
  const std::vector<float> scales = AwqScales(layer.MeanAbs(), want["ratio"].get<double>());
  Matrix scaled = awq_testing::Copy(layer.weights);
  ScaleColumns(scaled.view(), scales);
  const Matrix bounds = Clip(layer, scales, scaled, spec);
  ASSERT_EQ(bounds.rows(), want["clip"].size());
  for (size_t r = 0; r < bounds.rows(); ++r) {
    ASSERT_EQ(bounds.cols(), want["clip"][r].size());
    for (size_t k = 0; k < bounds.cols(); ++k) {
      EXPECT_NEAR(bounds.view().Row(r)[k], want["clip"][r][k].get<double>(), 2e-6) << r << " " << k;
    }
  }
}

TEST(AwqClip, GivesTheWorkedExamples) {
  const Json examples = awq_testing::Examples();
  WeightSpec spec{.bits = 3, .scale_type = DType::kF32, .grid = Grid::kAwq};
  ExpectExample(awq_testing::WorkedLayer(), spec, examples["worked"]);
  spec.group_size = 8;
  ExpectExample(awq_testing::FormulaLayer(), spec, examples["formula"]);
}

TEST(AwqClip, FindsTheBestBoundOfEveryGroupAsAllTokensSeeIt) {
  struct {
    size_t cols, group;
    bool symmetric;
  } const cases[] = {{150, 64, false}, {150, 128, true}, {96, 32, false}, {90, 0, false}, {33, 128, true}};
  for (const auto& c : cases) {
    const Layer layer = awq_testing::RandomLayer(6, c.cols, 40, 21);
    const WeightSpec spec{.bits = 3, .group_size = c.group, .symmetric = c.symmetric, .grid = Grid::kAwq};
    const std::vector<float> scales = AwqScales(layer.MeanAbs(), 0.5);
    Matrix scaled = awq_testing::Copy(layer.weights);
    ScaleColumns(scaled.view(), scales);
    const Matrix bounds = Clip(layer, scales, scaled, spec);
    const size_t group = spec.GroupSizeFor(c.cols);
    for (size_t r = 0; r < 6; ++r) {
      for (size_t k = 0; k < bounds.cols(); ++k) {
        const size_t begin = k * group, end = std::min(c.cols, begin + group);
        const std::vector<double> errors = DirectErrors(layer, scaled, scales, spec, r, begin, end, 1);
        float absmax = 0;
        for (size_t j = begin; j < end; ++j) absmax = std::max(absmax, std::abs(scaled.view().Row(r)[j]));
        const size_t step = StepOf(bounds.view().Row(r)[k], absmax);
        ASSERT_LT(step, 10u);
        EXPECT_LE(errors[step], (1 + 1e-4) * *std::min_element(errors.begin(), errors.end()));
      }
    }
  }
}

TEST(AwqClip, AllTokensAgreeWithASampleOfThem) {
  // The original looks at every N/512-th token. Over many groups the two choose nearly the same bounds.
  const Layer layer = awq_testing::RandomLayer(20, 64, 600, 22);
  const WeightSpec spec{.bits = 3, .group_size = 32, .grid = Grid::kAwq};
  const std::vector<float> scales(64, 1.0f);
  const Matrix bounds = Clip(layer, {}, layer.weights, spec);
  size_t near = 0;
  for (size_t r = 0; r < 20; ++r) {
    for (size_t k = 0; k < 2; ++k) {
      const std::vector<double> errors =
          DirectErrors(layer, layer.weights, scales, spec, r, 32 * k, 32 * k + 32, 3);
      float absmax = 0;
      for (size_t j = 32 * k; j < 32 * k + 32; ++j)
        absmax = std::max(absmax, std::abs(layer.weights.view().Row(r)[j]));
      const auto sampled = std::min_element(errors.begin(), errors.end()) - errors.begin();
      near += std::abs(sampled - static_cast<std::ptrdiff_t>(StepOf(bounds.view().Row(r)[k], absmax))) <= 1
                  ? 1
                  : 0;
    }
  }
  EXPECT_GE(near, 34u);  // of 40
}

TEST(AwqClip, BoundsStayBetweenTheLeastAndTheLargestWeightAndClampingKeepsThem) {
  const Layer layer = awq_testing::RandomLayer(30, 150, 40, 23);
  const WeightSpec spec{.bits = 2, .group_size = 64, .grid = Grid::kAwq};
  const Matrix bounds = Clip(layer, {}, layer.weights, spec);
  Matrix clamped = awq_testing::Copy(layer.weights);
  ClampToBounds(clamped.view(), bounds.view(), 64);
  size_t shrunk = 0;
  for (size_t r = 0; r < 30; ++r) {
    for (size_t k = 0; k < 3; ++k) {
      float absmax = 0;
      const float bound = bounds.view().Row(r)[k];
      for (size_t j = 64 * k; j < std::min<size_t>(150, 64 * k + 64); ++j) {
        const float before = layer.weights.view().Row(r)[j], after = clamped.view().Row(r)[j];
        absmax = std::max(absmax, std::abs(before));
        EXPECT_EQ(after, std::clamp(before, -bound, bound));
      }
      EXPECT_GE(bound, 0.5499f * absmax);
      EXPECT_LE(bound, absmax);
      shrunk += bound < absmax ? 1 : 0;
    }
  }
  EXPECT_GT(shrunk, 45u);  // at 2 bits it pays
}

TEST(AwqClip, LeavesGroupsAloneThatNothingReads) {
  Layer layer = awq_testing::RandomLayer(5, 64, 30, 24);
  for (size_t t = 0; t < 30; ++t) std::fill_n(layer.inputs.view().Row(t), 32, 0.0f);
  std::fill_n(layer.weights.view().Row(3) + 32, 32, 0.0f);
  for (const RangeSearch range : {RangeSearch::kMinMax, RangeSearch::kHdiag}) {
    const Matrix bounds =
        Clip(layer, {}, layer.weights, {.bits = 2, .group_size = 32, .grid = Grid::kAwq, .range = range});
    for (size_t r = 0; r < 5; ++r) {
      float absmax = 0;
      for (size_t j = 0; j < 32; ++j) absmax = std::max(absmax, std::abs(layer.weights.view().Row(r)[j]));
      EXPECT_EQ(bounds.view().Row(r)[0], absmax);
    }
    EXPECT_EQ(bounds.view().Row(3)[1], 0);
  }
}

TEST(AwqClip, IsTheSameToTheBitForAnyNumberOfThreads) {
  const Layer layer = awq_testing::RandomLayer(70, 150, 40, 25);
  const WeightSpec spec{.bits = 3, .group_size = 64, .grid = Grid::kAwq};
  const Matrix one = Clip(layer, {}, layer.weights, spec, 1), five = Clip(layer, {}, layer.weights, spec, 5);
  EXPECT_TRUE(std::equal(one.data(), one.data() + 70 * 3, five.data()));
}

TEST(AwqClip, RefusesAGramMatrixThatIsNotFinite) {
  const Layer layer = awq_testing::RandomLayer(5, 64, 30, 26);
  std::vector<double> gram = layer.Gram();
  gram[40 * 64 + 41] = std::numeric_limits<double>::infinity();
  const Threads threads(1);
  const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
  try {
    SearchClip(layer.weights.view(), {{gram.data(), 64, 64}, 30, {}}, {.bits = 3, .group_size = 32}, *backend,
               Place("file").Tensor("t"));
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kNumeric);
    EXPECT_THAT(e.what(), HasSubstr("file: tensor 't': columns 32 to 63: row 0"));
  }
}

TEST(AwqClips, EverythingButQueriesAndKeys) {
  for (const std::string_view name : {"self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj",
                                      "mlp.down_proj", "mlp.experts.12.down_proj"}) {
    EXPECT_TRUE(AwqClips(name)) << name;
  }
  for (const std::string_view name : {"self_attn.q_proj", "self_attn.k_proj", "attention.query_key_value",
                                      "attn.Wqkv", "block_sparse_moe.experts.0.w1"}) {
    EXPECT_FALSE(AwqClips(name)) << name;
  }
}

}  // namespace
}  // namespace lowbit
