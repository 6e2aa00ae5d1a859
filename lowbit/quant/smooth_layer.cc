// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/smooth_layer.h"

#include <algorithm>
#include <cmath>

namespace lowbit {
namespace {

using Kind = LayerStep::Kind;

bool IsSmoothed(Smoothed where, Kind kind) {
  switch (kind) {
    case Kind::kAttnIn:
      return where != Smoothed::kMlpIn;
    case Kind::kMlpIn:
      return where != Smoothed::kAttnIn;
    case Kind::kMlpMid:
      return where == Smoothed::kDown || where == Smoothed::kAll;
    case Kind::kAttnOut:
      return where == Smoothed::kAll;
  }
  return false;
}

void AddColumnMaxima(MatView<const float> matrix, std::vector<float>& largest) {
  for (size_t r = 0; r < matrix.rows; ++r) {
    for (size_t j = 0; j < matrix.cols; ++j) largest[j] = std::max(largest[j], std::fabs(matrix.Row(r)[j]));
  }
}

// Query heads that read one value get the largest of them all.
void TieMaxima(size_t heads, size_t kv_heads, std::vector<float>& largest) {
  const size_t head_dim = largest.size() / heads, shared = heads / kv_heads;
  for (size_t kv = 0; kv < kv_heads; ++kv) {
    for (size_t i = 0; i < head_dim; ++i) {
      const auto at = [&](size_t h) -> float& { return largest[(kv * shared + h) * head_dim + i]; };
      float most = 0;
      for (size_t h = 0; h < shared; ++h) most = std::max(most, at(h));
      for (size_t h = 0; h < shared; ++h) at(h) = most;
    }
  }
}

class Smoother {
 public:
  Smoother(const SmoothLayerJob& job, const LayerWeights& weights)
      : job_(job), layer_(CopyToRescale(job.layout, weights, job.threads)) {}

  RescaledLayer Run() {
    // All scales from the layer as it was, then all folded.
    std::vector<std::pair<LayerStep, std::vector<float>>> found;
    for (const ScaleGroup& group : ScaleGroupsOf(job_.layout)) {
      if (!IsSmoothed(job_.options.where, group.whole.kind) || !job_.spec_of(group.whole.readers[0]))
        continue;
      if (Tokens(group) == 0) {
        layer_.notes.push_back(
            fmt::format("{}: no inputs: nothing is smoothed", job_.place.Item(group.whole.tap).Text()));
        continue;
      }
      found.emplace_back(group.whole, ScalesOf(group));
      for (const LayerStep& step : group.steps) layer_.scales[step.tap] = found.back().second;
    }
    for (const auto& [step, scales] : found) FoldScales(step, scales, job_.config, job_.layout, layer_);
    return std::move(layer_);
  }

 private:
  const InputStatistics& InputsOf(const LayerStep& step) const { return job_.inputs.find(step.tap)->second; }

  uint64_t Tokens(const ScaleGroup& group) const {
    uint64_t tokens = 0;
    for (const LayerStep& step : group.steps) tokens += InputsOf(step).tokens;
    return tokens;
  }

  std::vector<float> ScalesOf(const ScaleGroup& group) {
    std::vector<float> inputs(group.whole.width), weights(group.whole.width);
    for (const LayerStep& step : group.steps) {
      const InputStatistics& seen = InputsOf(step);
      seen.RequireFinite(job_.place.Item(step.tap).Text());
      for (size_t j = 0; j < inputs.size(); ++j) inputs[j] = std::max(inputs[j], seen.max_abs[j]);
    }
    for (const std::string& reader : group.whole.readers)
      AddColumnMaxima(layer_.Linear(reader).view(), weights);
    if (group.whole.kind == Kind::kMlpIn && layer_.router) AddColumnMaxima(layer_.router->view(), weights);
    if (group.whole.kind == Kind::kAttnOut) {
      for (std::vector<float>* largest : {&inputs, &weights})
        TieMaxima(job_.config.num_attention_heads, job_.config.num_key_value_heads, *largest);
    }
    return SmoothScales(inputs, weights, job_.options.alpha);
  }

  const SmoothLayerJob& job_;
  RescaledLayer layer_;
};

}  // namespace

std::vector<float> SmoothScales(std::span<const float> largest_inputs, std::span<const float> largest_weights,
                                double alpha) {
  LOWBIT_ASSERT(largest_inputs.size() == largest_weights.size());
  constexpr float kLeast = 1e-5f;
  const auto of_inputs = static_cast<float>(alpha), of_weights = static_cast<float>(1 - alpha);
  std::vector<float> scales;
  scales.reserve(largest_inputs.size());
  for (size_t j = 0; j < largest_inputs.size(); ++j) {
    const float weight = std::max(largest_weights[j], kLeast);
    scales.push_back(std::max(std::pow(largest_inputs[j], of_inputs) / std::pow(weight, of_weights), kLeast));
  }
  return scales;
}

RescaledLayer RescaleWithSmoothQuant(const SmoothLayerJob& job, const LayerWeights& weights) {
  return Smoother(job, weights).Run();
}

}  // namespace lowbit
