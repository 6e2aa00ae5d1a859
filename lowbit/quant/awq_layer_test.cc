// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/awq_layer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "lowbit/model/decoder.h"

namespace lowbit {
namespace {

CalibrationSet SomeTokens(size_t samples, size_t length) {
  CalibrationSet set;
  set.spec.samples = samples;
  set.spec.length = length;
  std::mt19937 random(3);
  for (size_t s = 0; s < samples; ++s) {
    TokenIds& ids = set.sequences.emplace_back();
    for (size_t t = 0; t < length; ++t) ids.push_back(static_cast<int32_t>(random() % 512));
  }
  return set;
}

// A checkpoint whose layers were rescaled, and not rounded.
class Rescaled : public LayerSource {
 public:
  Rescaled(const CheckpointSource& source, std::vector<RescaledLayer> layers)
      : source_(source), layers_(std::move(layers)) {}
  const ModelConfig& config() const override { return source_.config(); }
  const ModelLayout& layout() const override { return source_.layout(); }
  LayerWeights Layer(size_t index) const override {
    const RescaledLayer& rescaled = layers_[index];
    LayerWeights weights = source_.Layer(index);
    for (auto& [name, weight] : weights.linears) weight = rescaled.WeightOf(name);
    weights.norms = rescaled.norms;
    weights.biases = rescaled.biases;
    if (rescaled.router) {
      const float* values = rescaled.router->data();
      const std::map<std::string, std::vector<float>> vectors = {
          {"mlp.gate.weight", {values, values + rescaled.router->rows() * rescaled.router->cols()}}};
      EXPECT_EQ(ReplaceVectors(vectors, "", weights).size(), 1u);
    }
    return weights;
  }
  Weight Embedding() const override { return source_.Embedding(); }
  Weight Head() const override { return source_.Head(); }
  std::vector<float> FinalNorm() const override { return source_.FinalNorm(); }
  uint64_t StoredBytes(size_t index) const override { return source_.StoredBytes(index); }
  void Prefetch(size_t) const override {}
  void Release(size_t) const override {}
  void ReleaseEmbeddingAndHead() const override {}

 private:
  const CheckpointSource& source_;
  std::vector<RescaledLayer> layers_;
};

struct Seen {
  Matrix logits;
  std::map<std::string, std::vector<std::vector<uint32_t>>> experts;  // rows of each, by router
};

Seen LogitsOf(const LayerSource& source, const Backend& backend, const CalibrationSet& set) {
  Seen seen;
  const Matrix hidden =
      Decoder(source, backend).Forward(set.sequences, [&](std::string_view name, size_t, auto rows) {
        if (!name.starts_with("router")) return;
        const ExpertsLayout& experts = *source.layout().layers[0].experts;
        for (const ExpertRows& e : RouteRows(rows, experts.active, experts.normalize))
          seen.experts[std::string(name)].push_back(e.rows);
      });
  const auto head = backend.Prepare(source.Head());
  seen.logits = Matrix(hidden.rows(), head->out());
  backend.Gemm(hidden.view(), *head, {}, seen.logits.view());
  return seen;
}

class AwqLayerOf : public testing::TestWithParam<const char*> {
 protected:
  const CheckpointSource source_{std::string(LOWBIT_TESTDATA) + "/models/" + GetParam()};
  Threads threads_{2};
  std::unique_ptr<Backend> backend_ = MakeBackend("cpu", "f32", threads_);
  const CalibrationSet set_ = SomeTokens(3, 40);
  const WeightSpec spec_{.bits = 3, .group_size = 32, .grid = Grid::kAwq};

  std::vector<RescaledLayer> Rescale(AwqLoss loss) const {
    std::vector<RescaledLayer> layers;
    CalibrationStream stream(source_, set_, *backend_, {});
    for (size_t l = 0; l < source_.layout().layers.size(); ++l) {
      const LayerWeights weights = source_.Layer(l);
      const LayerRecord record = stream.Record(l, weights,
                                               {.gram = GramPart::kFull,
                                                .samples = loss == AwqLoss::kBlock ? 3u : 0u,
                                                .row_weights = loss == AwqLoss::kHessianRows});
      const StagedLayer::Job staged = stream.JobOf(l, 3);
      const Place place(GetParam());
      AwqLayerJob job{staged.config, staged.layout, *backend_, [&](auto&&) { return spec_; },
                      record.inputs, place,         false};
      if (loss == AwqLoss::kHessianRows) job.row_weights = &record.row_weights;
      if (loss == AwqLoss::kBlock) {
        job.loss_of = [&](const LayerStep& step) { return stream.LossOf(staged, weights, step, record); };
      }
      layers.push_back(RescaleWithAwq(job, weights));
    }
    return layers;
  }
};
INSTANTIATE_TEST_SUITE_P(TinyModels, AwqLayerOf,
                         testing::Values("tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST_P(AwqLayerOf, KeepsTheLogitsAndTheChoiceOfExperts) {
  for (const AwqLoss loss : {AwqLoss::kBlock, AwqLoss::kHessian, AwqLoss::kHessianRows}) {
    std::vector<RescaledLayer> layers = Rescale(loss);
    size_t moved = 0;
    for (const RescaledLayer& layer : layers) {
      for (const auto& [tap, choice] : layer.choices) moved += choice.step > 0 ? 1 : 0;
    }
    EXPECT_GT(moved, 3u) << "nothing was rescaled";
    const Seen before = LogitsOf(source_, *backend_, set_),
               after = LogitsOf(Rescaled(source_, std::move(layers)), *backend_, set_);
    EXPECT_EQ(before.experts, after.experts);
    float size = 0, change = 0;
    for (size_t i = 0; i < before.logits.rows() * before.logits.cols(); ++i) {
      size = std::max(size, std::abs(before.logits.data()[i]));
      change = std::max(change, std::abs(before.logits.data()[i] - after.logits.data()[i]));
    }
    EXPECT_LT(change, 1e-4f * size) << Name(loss);
    EXPECT_GT(size, 0.1f);
  }
}

// What ends early in a search does not change its choice.
TEST_P(AwqLayerOf, ChoosesTheFirstOfTheSmallestLosses) {
  for (const RescaledLayer& layer : Rescale(AwqLoss::kBlock)) {
    for (const auto& [tap, choice] : layer.choices) {
      const auto least = std::ranges::min_element(choice.losses);
      EXPECT_EQ(static_cast<size_t>(least - choice.losses.begin()), choice.step) << tap;
    }
  }
}

TEST_P(AwqLayerOf, AMixturesExpertsShareOneScaleAndHaveTheirOwnBehindIt) {
  const LayerLayout& layout = source_.layout().layers[0];
  const std::vector<RescaledLayer> layers = Rescale(AwqLoss::kHessian);
  if (!layout.experts) {
    EXPECT_FALSE(layers[0].router);
    return;
  }
  ASSERT_TRUE(layers[0].router);
  EXPECT_FALSE(layers[1].router);  // a dense layer of the same model
  EXPECT_TRUE(layers[0].choices.contains("mlp_in"));
  for (size_t e = 1; e < layout.experts->count; ++e) {
    EXPECT_EQ(layers[0].scales.at(fmt::format("mlp_in.{}", e)), layers[0].scales.at("mlp_in.0"));
    EXPECT_NE(layers[0].scales.at(fmt::format("mlp_mid.{}", e)), layers[0].scales.at("mlp_mid.0"));
  }
}

}  // namespace
}  // namespace lowbit
