// SPDX-License-Identifier: Apache-2.0
// Qwen3-MoE: attention as in Qwen3; in sparse layers a router sends each row to a few of many gated MLPs.
#include "lowbit/model/layout.h"

namespace lowbit {

LayerLayout Qwen3Layer(const ModelConfig& config, size_t index);

LayerLayout Qwen3MoeLayer(const ModelConfig& config, size_t index) {
  LayerLayout layer = Qwen3Layer(config, index);
  if (!config.IsSparse(index)) return layer;
  const size_t h = config.hidden_size, inner = config.moe_intermediate_size;
  const auto is_mlp = [](const auto& entry) { return entry.name.starts_with("mlp"); };
  std::erase_if(layer.linears, is_mlp);
  std::erase_if(layer.stages, is_mlp);

  layer.experts = ExpertsLayout{
      .router = {std::string(kRouterName), config.num_experts, h, "num_experts", "hidden_size", false},
      .count = config.num_experts,
      .active = config.num_experts_per_tok,
      .normalize = config.norm_topk_prob,
  };
  Stage in{.name = "mlp_in",
           .producer = "post_attention_layernorm",
           .readers = {},
           .fixed_readers = {std::string(kRouterName)}};
  std::vector<Stage> mids;
  for (size_t e = 0; e < config.num_experts; ++e) {
    const std::string gate = ExpertsLayout::LinearName(e, "gate_proj"),
                      up = ExpertsLayout::LinearName(e, "up_proj"),
                      down = ExpertsLayout::LinearName(e, "down_proj");
    layer.linears.push_back({gate, inner, h, "moe_intermediate_size", "hidden_size", false});
    layer.linears.push_back({up, inner, h, "moe_intermediate_size", "hidden_size", false});
    layer.linears.push_back({down, h, inner, "hidden_size", "moe_intermediate_size", false});
    in.readers.push_back(gate);
    in.readers.push_back(up);
    mids.push_back({fmt::format("mlp_mid.{}", e), up, {down}, {}});
  }
  layer.stages.push_back(std::move(in));
  std::ranges::move(mids, std::back_inserter(layer.stages));
  return layer;
}

}  // namespace lowbit
