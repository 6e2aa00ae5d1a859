// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/families/dense.h"

namespace lowbit {

LayerLayout DenseLayer(const ModelConfig& c) {
  constexpr std::string_view hidden = "hidden_size", inner = "intermediate_size";
  constexpr std::string_view queries = "num_attention_heads × head_dim",
                             keys = "num_key_value_heads × head_dim";
  const size_t h = c.hidden_size, i = c.intermediate_size, q = c.QuerySize(), kv = c.KeyValueSize();
  const bool bias = c.attention_bias;

  LayerLayout layer;
  layer.norms = {
      {"input_layernorm", h, hidden},
      {"post_attention_layernorm", h, hidden},
  };
  layer.linears = {
      {"self_attn.q_proj", q, h, queries, hidden, bias}, {"self_attn.k_proj", kv, h, keys, hidden, bias},
      {"self_attn.v_proj", kv, h, keys, hidden, bias},   {"self_attn.o_proj", h, q, hidden, queries, bias},
      {"mlp.gate_proj", i, h, inner, hidden, false},     {"mlp.up_proj", i, h, inner, hidden, false},
      {"mlp.down_proj", h, i, hidden, inner, false},
  };
  layer.stages = {
      {"attn_in", "input_layernorm", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, {}},
      {"attn_out", "self_attn.v_proj", {"self_attn.o_proj"}, {}},
      {"mlp_in", "post_attention_layernorm", {"mlp.gate_proj", "mlp.up_proj"}, {}},
      {"mlp_mid", "mlp.up_proj", {"mlp.down_proj"}, {}},
  };
  return layer;
}

}  // namespace lowbit
