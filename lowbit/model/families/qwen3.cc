// SPDX-License-Identifier: Apache-2.0
// Qwen3, dense: each head of q and k passes a norm of its own before the rotary embedding.
#include "lowbit/model/families/dense.h"

namespace lowbit {

LayerLayout Qwen3Layer(const ModelConfig& config, size_t) {
  LayerLayout layer = DenseLayer(config);
  layer.norms.push_back({"self_attn.q_norm", config.head_dim, "head_dim"});
  layer.norms.push_back({"self_attn.k_norm", config.head_dim, "head_dim"});
  return layer;
}

}  // namespace lowbit
