// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/awq.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "lowbit/quant/awq_fold.h"
#include "lowbit/quant/awq_loss.h"
#include "lowbit/quant/awq_testing.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

using awq_testing::Layer;
using ::testing::Each;
using ::testing::HasSubstr;

AwqChoice Search(const Layer& layer, const WeightSpec& spec, const ScaleLoss& loss,
                 std::span<const float> importance = {}) {
  const std::vector<float> mean = layer.MeanAbs();
  const MatView<const float> reader = layer.weights.view();
  return SearchScales({{&reader, 1}, mean, importance}, spec, loss, Place("test"), Threads(2));
}

TEST(AwqSearch, GivesTheWorkedExample) {
  const Json want = awq_testing::Examples()["worked"];
  const Layer layer = awq_testing::WorkedLayer();
  const WeightSpec spec{.bits = 3, .scale_type = DType::kF32, .grid = Grid::kAwq};
  const AwqChoice choice = Search(layer, spec, awq_testing::DirectLoss(layer));

  EXPECT_EQ(choice.step, 7u);
  EXPECT_NEAR(choice.Ratio(), want["ratio"].get<double>(), 1e-12);
  for (size_t k = 0; k < kAwqRatios; ++k) {
    // Up to ratio 0.1 row 0 has weights 1.5 and 5.5 steps from 0: f32 and the example's f64 may part there.
    if (k == 1) continue;
    EXPECT_NEAR(choice.losses[k], want["losses"][k].get<double>(), 2e-6) << k;
  }
  Matrix rounded(3, 4);
  RoundScaled(layer.weights.view(), choice.scales, spec, {}, Place("test"), Threads(1), rounded.view());
  for (size_t j = 0; j < 4; ++j) {
    EXPECT_NEAR(layer.MeanAbs()[j], want["xmean"][j].get<double>(), 1e-6);
    EXPECT_NEAR(choice.scales[j], want["scales"][j].get<double>(), 1e-6);
    for (size_t r = 0; r < 3; ++r) {
      EXPECT_NEAR(rounded.view().Row(r)[j], want["deq"][r][j].get<double>(), 1e-6);
    }
  }
}

TEST(AwqSearch, GivesTheFormulaLayer) {
  const Json want = awq_testing::Examples()["formula"];
  const Layer layer = awq_testing::FormulaLayer();
  const WeightSpec spec{.bits = 3, .group_size = 8, .scale_type = DType::kF32, .grid = Grid::kAwq};
  const AwqChoice choice = Search(layer, spec, awq_testing::DirectLoss(layer));
  EXPECT_NEAR(choice.Ratio(), want["ratio"].get<double>(), 1e-12);
  EXPECT_NEAR(choice.losses[choice.step], want["loss"].get<double>(), 2e-6);
  Matrix rounded(4, 16);
  RoundScaled(layer.weights.view(), choice.scales, spec, {}, Place("test"), Threads(1), rounded.view());
  for (size_t j = 0; j < 16; ++j) {
    EXPECT_NEAR(choice.scales[j], want["scales"][j].get<double>(), 2e-6);
    EXPECT_NEAR(rounded.view().Row(0)[j], want["row0"][j].get<double>(), 2e-6);
  }
}

TEST(AwqSearch, GramLossIsTheDirectLossOfABareLinear) {
  struct {
    size_t rows, cols, tokens, group;
    bool symmetric;
  } const cases[] = {{5, 576, 60, 128, false},
                     {6, 576, 60, 64, true},
                     {3, 520, 40, 0, false},
                     {1, 1, 3, 128, false},
                     {70, 65, 200, 16, true}};
  for (const std::string backend_name : {"cpu", "ref"}) {
    for (const auto& c : cases) {
      const Threads threads(2);
      const std::unique_ptr<Backend> backend = MakeBackend(backend_name, "auto", threads);
      const Layer layer = awq_testing::RandomLayer(c.rows, c.cols, c.tokens, 7);
      const WeightSpec spec{.bits = 3, .group_size = c.group, .symmetric = c.symmetric, .grid = Grid::kAwq};
      const MatView<const float> reader = layer.weights.view();
      const std::vector<double> gram = layer.Gram();
      const AwqChoice direct = Search(layer, spec, awq_testing::DirectLoss(layer)),
                      fast =
                          Search(layer, spec,
                                 GramLoss(*backend, {gram.data(), c.cols, c.cols}, c.tokens, {&reader, 1}));
      EXPECT_EQ(fast.step, direct.step) << c.cols;
      EXPECT_EQ(fast.scales, direct.scales) << c.cols;
      ASSERT_EQ(fast.losses.size(), kAwqRatios);
      for (size_t k = 0; k < kAwqRatios; ++k) {
        EXPECT_NEAR(fast.losses[k] / direct.losses[k], 1, 1e-4) << c.cols << " " << k;
      }
    }
  }
}

TEST(AwqSearch, GramLossTakesTheMeanOverAllReadersRows) {
  const Threads threads(2);
  const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
  const Layer layer = awq_testing::RandomLayer(1100, 24, 30, 3);  // more rows than are held at once
  const std::vector<double> gram = layer.Gram();
  const MatView<const double> view(gram.data(), 24, 24);
  Matrix rounded(1100, 24);
  RoundToValues(layer.weights.view(), {.bits = 2, .group_size = 8}, 0, Place("test"), threads,
                rounded.view());
  const MatView<const float> all[] = {layer.weights.view()},
                             before[] = {all[0].Rows(0, 1030), all[0].Rows(1030, 70)};
  const MatView<const float> all_after[] = {rounded.view()},
                             after[] = {all_after[0].Rows(0, 1030), all_after[0].Rows(1030, 70)};
  const double whole = GramLoss(*backend, view, 30, all).Loss(all_after);
  EXPECT_NEAR(GramLoss(*backend, view, 30, before).Loss(after) / whole, 1, 1e-12);
  EXPECT_NEAR(whole / awq_testing::DirectLoss(layer).Loss(all_after), 1, 1e-5);
}

TEST(AwqSearch, IsTheSameToTheBitForAnyNumberOfThreads) {
  const Layer layer = awq_testing::RandomLayer(67, 300, 50, 5);
  const std::vector<double> gram = layer.Gram();
  const std::vector<float> mean = layer.MeanAbs();
  const MatView<const float> readers[] = {layer.weights.view().Rows(0, 40),
                                          layer.weights.view().Rows(40, 27)};
  std::vector<AwqChoice> choices;
  for (const int count : {1, 2, 5}) {
    const Threads threads(count);
    const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
    const GramLoss loss(*backend, {gram.data(), 300, 300}, 50, readers);
    choices.push_back(SearchScales({readers, mean}, {.bits = 3, .group_size = 128, .grid = Grid::kAwq}, loss,
                                   Place("test"), threads));
  }
  for (const AwqChoice& choice : choices) {
    EXPECT_EQ(choice.losses, choices[0].losses);
    EXPECT_EQ(choice.scales, choices[0].scales);
  }
}

TEST(AwqSearch, RatioZeroIsRoundingToNearestBitForBit) {
  const Layer layer = awq_testing::RandomLayer(9, 576, 20, 9);
  const std::vector<float> ones = AwqScales(layer.MeanAbs(), 0);
  EXPECT_THAT(ones, Each(1.0f));
  for (const size_t group : {0, 64, 128}) {
    const WeightSpec spec{.bits = 4, .group_size = group, .grid = Grid::kAwq};
    Matrix scaled(9, 576), values(9, 576);
    RoundScaled(layer.weights.view(), ones, spec, {}, Place("test"), Threads(2), scaled.view());
    PackedTensor packed = MakePacked(9, 576, spec);
    RoundRows(layer.weights.view(), spec, 0, Place("test"), Threads(2), packed);
    Dequantize(packed, 0, values.view());
    EXPECT_TRUE(std::equal(values.data(), values.data() + 9 * 576, scaled.data())) << group;
  }
}

TEST(AwqSearch, JudgesWhatFoldingAndRoundingWillLeave) {
  const Layer layer = awq_testing::RandomLayer(5, 150, 30, 10);
  const std::vector<float> scales = AwqScales(layer.MeanAbs(), 0.5), importance = layer.Importance();
  const WeightSpec specs[] = {{.bits = 3, .group_size = 64, .grid = Grid::kAwq},
                              {.bits = 2, .group_size = 128, .symmetric = true, .range = RangeSearch::kHdiag},
                              {.bits = 1, .group_size = 64}};
  for (const WeightSpec& spec : specs) {
    Matrix judged(5, 150), folded = awq_testing::Copy(layer.weights), left(5, 150);
    RoundScaled(layer.weights.view(), scales, spec, importance, Place("test"), Threads(2), judged.view());
    ScaleColumns(folded.view(), scales);
    std::vector<float> scaled_importance = importance;
    for (size_t j = 0; j < 150; ++j) scaled_importance[j] = importance[j] / scales[j] / scales[j];
    PackedTensor packed = MakePacked(5, 150, spec);
    RoundRows(folded.view(), spec, 0, Place("test"), Threads(2), packed, scaled_importance);
    Dequantize(packed, 0, left.view());
    for (size_t r = 0; r < 5; ++r) {
      for (size_t j = 0; j < 150; ++j) {
        EXPECT_EQ(judged.view().Row(r)[j], left.view().Row(r)[j] / scales[j]) << spec.Text();
      }
    }
  }
}

TEST(AwqSearch, IsBetterThanRoundingToNearestWhereInputsDiffer) {
  const Layer layer = awq_testing::RandomLayer(40, 256, 100, 11);
  for (const RangeSearch range : {RangeSearch::kMinMax, RangeSearch::kHdiag}) {
    const std::vector<float> importance = layer.Importance();
    const AwqChoice choice = Search(layer, {.bits = 3, .group_size = 128, .grid = Grid::kAwq, .range = range},
                                    awq_testing::DirectLoss(layer), importance);
    EXPECT_GT(choice.step, 0u);
    EXPECT_LT(choice.losses[choice.step], 0.9 * choice.losses[0]);
  }
}

// Losses that were written down, by ratio.
class ListedLoss : public ScaleLoss {
 public:
  explicit ListedLoss(std::vector<double> losses) : losses_(std::move(losses)) {}
  double Loss(std::span<const MatView<const float>>) const override { return losses_[AwqTrial(calls_++)]; }

 private:
  std::vector<double> losses_;
  mutable size_t calls_ = 0;
};

// Keeps what the first ratio, no scaling, made of the readers.
class FirstReaders : public ScaleLoss {
 public:
  double Loss(std::span<const MatView<const float>> readers) const override {
    for (const MatView<const float>& reader : readers) {
      if (first.size() == readers.size()) break;
      Matrix& copy = first.emplace_back(reader.rows, reader.cols);
      for (size_t r = 0; r < reader.rows; ++r) std::ranges::copy(reader.RowSpan(r), copy.view().Row(r));
    }
    return 1;
  }
  mutable std::vector<Matrix> first;
};

TEST(AwqSearch, RoundsEachReaderByItsOwnImportance) {
  const Layer a = awq_testing::RandomLayer(4, 96, 30, 21), b = awq_testing::RandomLayer(4, 96, 30, 22);
  const MatView<const float> readers[] = {a.weights.view(), a.weights.view()};
  const std::vector<std::vector<float>> importance = {a.Importance(), b.Importance()};
  const std::vector<float> mean = a.MeanAbs(), ones(96, 1.0f);
  const WeightSpec spec{.bits = 3, .group_size = 32, .grid = Grid::kAwq, .range = RangeSearch::kHdiag};
  const FirstReaders loss;
  SearchScales({.readers = readers, .mean_abs = mean, .importance_of = importance}, spec, loss, Place("test"),
               Threads(2));
  ASSERT_EQ(loss.first.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    Matrix want(4, 96);
    RoundScaled(readers[i], ones, spec, importance[i], Place("test"), Threads(1), want.view());
    EXPECT_TRUE(std::equal(want.data(), want.data() + 4 * 96, loss.first[i].data())) << i;
  }
  EXPECT_FALSE(std::equal(loss.first[0].data(), loss.first[0].data() + 4 * 96, loss.first[1].data()));
}

TEST(AwqSearch, KeepsTheFirstOfEqualLosses) {
  const Layer layer = awq_testing::RandomLayer(2, 8, 5, 1);
  std::vector<double> losses(kAwqRatios, 2.0);
  EXPECT_EQ(Search(layer, {.bits = 3}, ListedLoss(losses)).step, 0u);
  losses[4] = losses[9] = 1;  // 9 is tried before 4
  const AwqChoice choice = Search(layer, {.bits = 3}, ListedLoss(losses));
  EXPECT_EQ(choice.step, 4u);
  EXPECT_EQ(choice.losses, losses);
  EXPECT_EQ(choice.scales, AwqScales(layer.MeanAbs(), 0.2));
}

TEST(AwqSearch, RefusesALossThatIsNoNumber) {
  const Layer layer = awq_testing::RandomLayer(2, 8, 5, 1);
  std::vector<double> losses(kAwqRatios, 2.0);
  losses[3] = std::numeric_limits<double>::quiet_NaN();
  try {
    Search(layer, {.bits = 3}, ListedLoss(losses));
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kNumeric);
    EXPECT_THAT(e.what(), HasSubstr("test: the loss of scales with ratio 0.15 is nan"));
  }
}

TEST(AwqScales, OfChannelsThatWereNeverUsed) {
  EXPECT_THAT(AwqScales(std::vector<float>(5, 0.0f), 0.5), Each(1.0f));
  const std::vector<float> scales =
      AwqScales(std::vector<float>{0, 4, 1}, 0.5);  // 1e-4, 2, 1 before centring
  EXPECT_NEAR(scales[0] * scales[1], 1, 1e-6);
  EXPECT_NEAR(scales[1] / scales[2], 2, 1e-6);
  EXPECT_NEAR(scales[2] / scales[0], 1e4, 1e-1);
}

TEST(AwqSearch, TakesDeadInputsConstantGroupsAndRowsOfZeros) {
  Layer layer = awq_testing::RandomLayer(4, 96, 30, 13);
  for (size_t t = 0; t < 30; ++t) std::fill_n(layer.inputs.view().Row(t) + 32, 40, 0.0f);
  std::fill_n(layer.weights.view().Row(1), 32, 0.25f);
  std::fill_n(layer.weights.view().Row(2), 96, 0.0f);
  const Threads threads(2);
  const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
  const std::vector<double> gram = layer.Gram();
  const MatView<const float> reader = layer.weights.view();
  for (const RangeSearch range : {RangeSearch::kMinMax, RangeSearch::kHdiag}) {
    const WeightSpec spec{.bits = 3, .group_size = 32, .grid = Grid::kAwq, .range = range};
    const std::vector<float> importance = layer.Importance();
    const AwqChoice choice =
        Search(layer, spec, GramLoss(*backend, {gram.data(), 96, 96}, 30, {&reader, 1}), importance);
    Matrix rounded(4, 96);
    RoundScaled(reader, choice.scales, spec, importance, Place("test"), threads, rounded.view());
    for (size_t i = 0; i < 4 * 96; ++i) EXPECT_TRUE(std::isfinite(rounded.data()[i]));
    EXPECT_THAT(rounded.view().RowSpan(2), Each(0.0f));
  }
}

TEST(AwqFold, LeavesTheProductOfANormAndItsReadersUnchanged) {
  const Layer layer = awq_testing::RandomLayer(20, 96, 30, 15);
  const std::vector<float> scales = AwqScales(layer.MeanAbs(), 0.7);
  const Matrix norm = RandomMatrix(1, 96, 16);
  std::vector<float> folded(norm.data(), norm.data() + 96);
  Matrix weights = awq_testing::Copy(layer.weights);
  ScaleColumns(weights.view(), scales);
  DivideElements(folded, scales);
  for (size_t t = 0; t < 30; ++t) {
    for (size_t r = 0; r < 20; ++r) {
      double before = 0, after = 0, size = 0;
      for (size_t j = 0; j < 96; ++j) {
        const double x = layer.inputs.view().Row(t)[j];
        before += x * norm.data()[j] * layer.weights.view().Row(r)[j];
        after += x * folded[j] * weights.view().Row(r)[j];
        size += std::abs(x * norm.data()[j] * layer.weights.view().Row(r)[j]);
      }
      EXPECT_NEAR(after, before, 1e-6 * size);
    }
  }
}

// outputs = reader · repeat(producer · x), each producer row feeding the columns that `feeds` names.
std::vector<double> Chain(const Matrix& reader, const Matrix& producer, const Matrix& x,
                          const std::vector<size_t>& feeds) {
  std::vector<double> outputs(reader.rows() * x.rows());
  for (size_t t = 0; t < x.rows(); ++t) {
    for (size_t r = 0; r < reader.rows(); ++r) {
      for (size_t c = 0; c < reader.cols(); ++c) {
        double value = 0;
        for (size_t j = 0; j < x.cols(); ++j) {
          value += static_cast<double>(producer.view().Row(feeds[c])[j]) * x.view().Row(t)[j];
        }
        outputs[t * reader.rows() + r] += value * reader.view().Row(r)[c];
      }
    }
  }
  return outputs;
}

void ExpectClose(const std::vector<double>& a, const std::vector<double>& b) {
  ASSERT_EQ(a.size(), b.size());
  double size = 0;
  for (const double v : a) size = std::max(size, std::abs(v));
  for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5 * size);
}

TEST(AwqFold, LeavesTheProductOfUpAndDownUnchanged) {
  Matrix down = RandomMatrix(5, 12, 1), up = RandomMatrix(12, 7, 2);
  const Matrix x = RandomMatrix(4, 7, 3);
  std::vector<size_t> feeds(12);
  for (size_t c = 0; c < 12; ++c) feeds[c] = c;
  const std::vector<double> before = Chain(down, up, x, feeds);
  std::vector<float> scales = AwqScales(std::vector<float>{1, 2, 3, 4, 5, 6, 7, 80, 9, 10, 0.01f, 12}, 0.5);
  ScaleColumns(down.view(), scales);
  DivideRows(up.view(), scales);
  ExpectClose(before, Chain(down, up, x, feeds));
}

TEST(AwqFold, LeavesTheProductOfValuesAndOutputUnchangedUnderGroupedQueries) {
  constexpr size_t kHeads = 6, kKvHeads = 2, kHeadDim = 4;
  Matrix o = RandomMatrix(5, kHeads * kHeadDim, 1), v = RandomMatrix(kKvHeads * kHeadDim, 7, 2);
  const Matrix x = RandomMatrix(4, 7, 3), seen = RandomMatrix(1, kHeads * kHeadDim, 4);
  std::vector<size_t> feeds;
  std::vector<float> mean;
  for (size_t c = 0; c < kHeads * kHeadDim; ++c) {
    feeds.push_back(c / kHeadDim / (kHeads / kKvHeads) * kHeadDim + c % kHeadDim);
    mean.push_back(std::abs(seen.data()[c]));
  }
  const std::vector<float> tied = TieOverQueryHeads(mean, kHeads, kKvHeads), scales = AwqScales(tied, 0.5);
  EXPECT_NEAR(tied[5], (mean[1] + mean[5] + mean[9]) / 3, 1e-6);
  EXPECT_EQ(TieOverQueryHeads(mean, kHeads, kHeads), mean);
  const std::vector<double> before = Chain(o, v, x, feeds);
  ScaleColumns(o.view(), scales);
  DivideValueRows(v.view(), scales, kHeads, kKvHeads);
  ExpectClose(before, Chain(o, v, x, feeds));
}

}  // namespace
}  // namespace lowbit
