// SPDX-License-Identifier: Apache-2.0
// Scales of AWQ and SmoothQuant fold into a model that says the same: nothing rounded, the logits stay.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "lowbit/model/decoder.h"
#include "lowbit/quant/awq_layer.h"
#include "lowbit/quant/smooth_layer.h"
#include "lowbit/tensor/dense_view.h"

namespace lowbit {
namespace {

// What AWQ finds for 3 bits, without clipping.
RescaledLayer ByAwq(const StagedLayer::Job& job, const LayerStatistics& inputs, const Place& place,
                    const LayerWeights& weights) {
  const WeightSpec spec{.bits = 3, .group_size = 16};
  return RescaleWithAwq(
      {job.config, job.layout, job.backend, [&](auto&&) { return spec; }, inputs, place, false}, weights);
}

RescaledLayer BySmoothQuant(const StagedLayer::Job& job, const LayerStatistics& inputs, const Place& place,
                            const LayerWeights& weights) {
  const SmoothOptions options{.alpha = 0.7, .where = Smoothed::kAll};
  const WeightSpec spec{.bits = 8};
  return RescaleWithSmoothQuant(
      {job.config, job.layout, job.backend.threads(), options, [&](auto&&) { return spec; }, inputs, place},
      weights);
}

// A model whose layers are rescaled in f32.
class Rescaled : public LayerSource {
 public:
  Rescaled(const CheckpointSource& base, const Backend& backend, decltype(ByAwq)* rescale) : base_(base) {
    CalibrationSet set;
    std::mt19937 random(3);
    for (size_t s = 0; s < 4; ++s) {
      TokenIds& ids = set.sequences.emplace_back();
      for (size_t t = 0; t < 50; ++t) ids.push_back(static_cast<int32_t>(random() % 512));
    }
    CalibrationStream stream(base, set, backend, {});
    for (size_t l = 0; l < base.layout().layers.size(); ++l) {
      const LayerWeights weights = base.Layer(l);
      const LayerRecord record = stream.Record(l, weights, {.gram = GramPart::kFull});
      const StagedLayer::Job job = stream.JobOf(l, stream.sequences());
      const Place place = Place().Item(fmt::format("layer {}", l));
      layers_.push_back(rescale(job, record.inputs, place, weights));
    }
  }
  const RescaledLayer& layer(size_t index) const { return layers_[index]; }

  const ModelConfig& config() const override { return base_.config(); }
  const ModelLayout& layout() const override { return base_.layout(); }
  LayerWeights Layer(size_t index) const override {
    LayerWeights weights = base_.Layer(index);
    for (auto& [name, weight] : weights.linears) weight = layers_[index].WeightOf(name);
    weights.norms = layers_[index].norms;
    weights.biases = layers_[index].biases;
    if (layers_[index].router) weights.router = DenseView(*layers_[index].router);
    return weights;
  }
  Weight Embedding() const override { return base_.Embedding(); }
  Weight Head() const override { return base_.Head(); }
  std::vector<float> FinalNorm() const override { return base_.FinalNorm(); }
  uint64_t StoredBytes(size_t index) const override { return base_.StoredBytes(index); }
  void Prefetch(size_t) const override {}
  void Release(size_t) const override {}
  void ReleaseEmbeddingAndHead() const override {}

 private:
  const CheckpointSource& base_;
  std::vector<RescaledLayer> layers_;
};

// All logits of all tokens.
Matrix Logits(const LayerSource& source, const Backend& backend, std::span<const TokenIds> sequences) {
  const Matrix hidden = Decoder(source, backend).Forward(sequences);
  Matrix logits(hidden.rows(), source.config().vocab_size);
  const auto head = backend.Prepare(source.Head(), Compute::kF32);
  backend.Gemm(hidden.view(), *head, {}, logits.view());
  return logits;
}

// Largest difference of a logit.
double Difference(const std::string& name, decltype(ByAwq)* rescale) {
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const CheckpointSource base(fmt::format("{}/models/{}", LOWBIT_TESTDATA, name));
  const Rescaled rescaled(base, *backend, rescale);
  size_t scaled = 0;  // stages that were
  for (size_t l = 0; l < base.layout().layers.size(); ++l) {
    for (const auto& [tap, scales] : rescaled.layer(l).scales)
      scaled += std::ranges::any_of(scales, [](float s) { return s != 1; }) ? 1 : 0;
  }
  EXPECT_GT(scaled, 0u) << name;
  std::vector<TokenIds> sequences(2);
  for (int32_t t = 0; t < 40; ++t) {
    sequences[0].push_back((t * 37 + 5) % 512);
    sequences[1].push_back((t * t + 1) % 512);
  }
  const Matrix was = Logits(base, *backend, sequences), is = Logits(rescaled, *backend, sequences);
  double largest = 0, worst = 0;
  for (size_t i = 0; i < was.rows() * was.cols(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(was.data()[i])));
    worst = std::max(worst, std::abs(static_cast<double>(was.data()[i]) - static_cast<double>(is.data()[i])));
  }
  EXPECT_GT(largest, 0.1) << name;
  return worst;
}

TEST(RescaledLogits, StayWithinATenThousandthWhenScalesAreFolded) {
  for (const char* name : {"tiny-qwen3", "tiny-llama3"}) EXPECT_LT(Difference(name, ByAwq), 1e-4) << name;
  for (const char* name : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe"})
    EXPECT_LT(Difference(name, BySmoothQuant), 1e-4) << name;
}

}  // namespace
}  // namespace lowbit
