// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/rescaled_layer.h"

#include <algorithm>

#include "lowbit/quant/awq_fold.h"
#include "lowbit/tensor/dense_view.h"

namespace lowbit {
namespace {

using Kind = LayerStep::Kind;

Matrix FloatsOf(const Weight& weight, const Threads& threads) {
  Matrix matrix(Rows(weight), Cols(weight));
  threads.For(matrix.rows(), [&](size_t r) { RowsToFloat(weight, r, matrix.view().Rows(r, 1)); });
  return matrix;
}

void DivideProducer(const std::string& name, std::span<const float> scales, RescaledLayer& layer) {
  DivideRows(layer.Linear(name).view(), scales);
  const auto bias = layer.biases.find(name);
  if (bias != layer.biases.end()) DivideElements(bias->second, scales);
}

// Query heads that read one value share its scales.
void DivideValues(std::span<const float> scales, const ModelConfig& config, RescaledLayer& layer) {
  const std::string name = "self_attn.v_proj";
  const size_t heads = config.num_attention_heads, kv_heads = config.num_key_value_heads;
  DivideValueRows(layer.Linear(name).view(), scales, heads, kv_heads);
  const auto bias = layer.biases.find(name);
  if (bias == layer.biases.end()) return;
  DivideValueRows({bias->second.data(), bias->second.size(), 1}, scales, heads, kv_heads);
}

}  // namespace

std::vector<ScaleGroup> ScaleGroupsOf(const LayerLayout& layout) {
  std::vector<ScaleGroup> groups;
  ScaleGroup experts;
  for (const LayerStep& step : StepsOf(layout)) {
    if (!layout.experts || step.kind != Kind::kMlpIn) {
      groups.push_back({step, {step}});
      continue;
    }
    if (experts.steps.empty()) experts.whole = {Kind::kMlpIn, "mlp_in", 0, {}, step.width};
    std::ranges::copy(step.readers, std::back_inserter(experts.whole.readers));
    experts.steps.push_back(step);
  }
  if (!experts.steps.empty()) groups.push_back(std::move(experts));
  return groups;
}

Weight RescaledLayer::WeightOf(const std::string& linear) const {
  return DenseView(linears.find(linear)->second);
}

RescaledLayer CopyToRescale(const LayerLayout& layout, const LayerWeights& weights, const Threads& threads) {
  RescaledLayer layer;
  for (const LinearSpec& linear : layout.linears) {
    layer.linears[linear.name] = FloatsOf(weights.linears.find(linear.name)->second, threads);
  }
  if (weights.router) layer.router = FloatsOf(*weights.router, threads);
  layer.norms = weights.norms;
  layer.biases = weights.biases;
  return layer;
}

void FoldScales(const LayerStep& step, std::span<const float> scales, const ModelConfig& config,
                const LayerLayout& layout, RescaledLayer& layer) {
  for (const std::string& reader : step.readers) ScaleColumns(layer.Linear(reader).view(), scales);
  switch (step.kind) {
    case Kind::kAttnIn:
      return DivideElements(layer.norms.find("input_layernorm")->second, scales);
    case Kind::kMlpIn:
      if (layer.router) ScaleColumns(layer.router->view(), scales);
      return DivideElements(layer.norms.find("post_attention_layernorm")->second, scales);
    case Kind::kMlpMid:
      return DivideProducer(
          layout.experts ? ExpertsLayout::LinearName(step.expert, "up_proj") : "mlp.up_proj", scales, layer);
    case Kind::kAttnOut:
      return DivideValues(scales, config, layer);
  }
}

}  // namespace lowbit
