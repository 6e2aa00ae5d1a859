// SPDX-License-Identifier: Apache-2.0
// LLaMA 2 and 3, SmolLM2 and others of the same structure.
#include "lowbit/model/families/dense.h"

namespace lowbit {

LayerLayout LlamaLayer(const ModelConfig& config, size_t) {
  LayerLayout layer = DenseLayer(config);
  for (LinearSpec& linear : layer.linears) {
    if (linear.name.starts_with("mlp.")) linear.bias = config.mlp_bias;
  }
  return layer;
}

}  // namespace lowbit
