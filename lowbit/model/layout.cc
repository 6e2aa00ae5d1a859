// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/layout.h"

#include <algorithm>
#include <array>

namespace lowbit {

// One declaration and one row for each family: families/NAME.cc.
LayerLayout LlamaLayer(const ModelConfig& config, size_t index);
LayerLayout Qwen3Layer(const ModelConfig& config, size_t index);
LayerLayout Qwen3MoeLayer(const ModelConfig& config, size_t index);

namespace {

constexpr std::array kFamilies = {
    Family{.model_type = "qwen3",
           .architecture = "Qwen3ForCausalLM",
           .description = "Qwen3, dense",
           .layer = &Qwen3Layer,
           .derives_head_sizes = false,
           .has_mlp_bias = false,
           .has_experts = false},
    Family{.model_type = "qwen3_moe",
           .architecture = "Qwen3MoeForCausalLM",
           .description = "Qwen3, mixture of experts",
           .layer = &Qwen3MoeLayer,
           .derives_head_sizes = false,
           .has_mlp_bias = false,
           .has_experts = true},
    Family{.model_type = "llama",
           .architecture = "LlamaForCausalLM",
           .description = "LLaMA 2 and 3, SmolLM2",
           .layer = &LlamaLayer,
           .derives_head_sizes = true,
           .has_mlp_bias = true,
           .has_experts = false},
};

void AddExpected(std::vector<ExpectedTensor>& out, const std::string& prefix, const LayerLayout& layer) {
  for (const NormSpec& norm : layer.norms) {
    out.push_back(
        {prefix + norm.name + ".weight", {norm.size}, fmt::format("[{}] of config.json", norm.size_from)});
  }
  if (layer.experts) {
    const LinearSpec& router = layer.experts->router;
    out.push_back({prefix + router.name + ".weight",
                   {router.out, router.in},
                   fmt::format("[{}, {}] of config.json", router.out_from, router.in_from)});
  }
  for (const LinearSpec& linear : layer.linears) {
    out.push_back({prefix + linear.name + ".weight",
                   {linear.out, linear.in},
                   fmt::format("[{}, {}] of config.json", linear.out_from, linear.in_from)});
    if (!linear.bias) continue;
    const std::string_view key = linear.name.starts_with("mlp.") ? "mlp_bias" : "attention_bias";
    out.push_back({prefix + linear.name + ".bias",
                   {linear.out},
                   fmt::format("[{}] of config.json, where {} is true", linear.out_from, key)});
  }
}

}  // namespace

const LinearSpec& LayerLayout::Linear(std::string_view name) const {
  const auto it = std::ranges::find(linears, name, &LinearSpec::name);
  LOWBIT_ASSERT(it != linears.end());
  return *it;
}

const NormSpec* LayerLayout::FindNorm(std::string_view name) const {
  const auto it = std::ranges::find(norms, name, &NormSpec::name);
  return it == norms.end() ? nullptr : &*it;
}

std::string ExpertsLayout::LinearName(size_t expert, std::string_view which) {
  return fmt::format("mlp.experts.{}.{}", expert, which);
}

std::string ModelLayout::LayerPrefix(size_t layer) {
  return fmt::format("model.layers.{}.", layer);
}

std::span<const Family> Families() {
  return kFamilies;
}

const Family* FindFamily(std::string_view model_type) {
  const auto* it = std::ranges::find(kFamilies, model_type, &Family::model_type);
  return it == kFamilies.end() ? nullptr : it;
}

ModelLayout LayoutOf(const ModelConfig& config) {
  const Family* family = FindFamily(config.model_type);
  LOWBIT_ASSERT(family != nullptr);
  ModelLayout layout;
  layout.head = config.tie_word_embeddings ? layout.embedding : "lm_head.weight";
  for (size_t i = 0; i < config.num_hidden_layers; ++i) layout.layers.push_back(family->layer(config, i));
  return layout;
}

std::vector<ExpectedTensor> ExpectedTensors(const ModelConfig& config) {
  const ModelLayout layout = LayoutOf(config);
  const Shape rows = {config.vocab_size, config.hidden_size};
  std::vector<ExpectedTensor> out;
  out.push_back({layout.embedding, rows, "[vocab_size, hidden_size] of config.json"});
  for (size_t i = 0; i < layout.layers.size(); ++i) {
    AddExpected(out, ModelLayout::LayerPrefix(i), layout.layers[i]);
  }
  out.push_back({layout.final_norm, {config.hidden_size}, "[hidden_size] of config.json"});
  if (layout.head != layout.embedding) {
    out.push_back(
        {layout.head, rows, "[vocab_size, hidden_size] of config.json, where tie_word_embeddings is false"});
  }
  return out;
}

}  // namespace lowbit
