// SPDX-License-Identifier: Apache-2.0
// AWQ's scales fold into a model that says the same: nothing rounded, the logits stay.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "lowbit/model/decoder.h"
#include "lowbit/quant/awq_layer.h"

namespace lowbit {
namespace {

// A model whose layers are rescaled in f32 by what AWQ finds for 3 bits, without clipping.
class Rescaled : public LayerSource {
 public:
  Rescaled(const CheckpointSource& base, const Backend& backend) : base_(base) {
    CalibrationSet set;
    std::mt19937 random(3);
    for (size_t s = 0; s < 4; ++s) {
      TokenIds& ids = set.sequences.emplace_back();
      for (size_t t = 0; t < 50; ++t) ids.push_back(static_cast<int32_t>(random() % 512));
    }
    CalibrationStream stream(base, set, backend, {});
    const WeightSpec spec{.bits = 3, .group_size = 16};
    for (size_t l = 0; l < base.layout().layers.size(); ++l) {
      const LayerWeights weights = base.Layer(l);
      const LayerRecord record = stream.Record(l, weights, {.gram = GramPart::kFull});
      const StagedLayer::Job job = stream.JobOf(l, stream.sequences());
      const Place place = Place().Item(fmt::format("layer {}", l));
      layers_.push_back(RescaleWithAwq(
          {job.config, job.layout, backend, [&](auto&&) { return spec; }, record.inputs, place, false},
          weights));
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
    return weights;
  }
  Weight Embedding() const override { return base_.Embedding(); }
  Weight Head() const override { return base_.Head(); }
  std::vector<float> FinalNorm() const override { return base_.FinalNorm(); }
  uint64_t StoredBytes(size_t index) const override { return base_.StoredBytes(index); }
  uint64_t OwnedBytes(size_t) const override { return 0; }
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

TEST(AwqLogits, StayWithinATenThousandthWhenScalesAreFolded) {
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  for (const char* name : {"tiny-qwen3", "tiny-llama3"}) {
    const CheckpointSource base(fmt::format("{}/models/{}", LOWBIT_TESTDATA, name));
    const Rescaled rescaled(base, *backend);
    size_t scaled = 0;  // stages that the search did scale
    for (size_t l = 0; l < base.layout().layers.size(); ++l) {
      for (const auto& [tap, choice] : rescaled.layer(l).choices) scaled += choice.step > 0 ? 1 : 0;
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
      worst =
          std::max(worst, std::abs(static_cast<double>(was.data()[i]) - static_cast<double>(is.data()[i])));
    }
    EXPECT_GT(largest, 0.1) << name;
    EXPECT_LT(worst, 1e-4) << name;
  }
}

}  // namespace
}  // namespace lowbit
