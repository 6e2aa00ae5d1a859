// SPDX-License-Identifier: Apache-2.0
// What a model weighs and costs, from its config.json alone.
#pragma once

#include <cstdint>

#include "lowbit/model/config.h"

namespace lowbit {

struct ModelSizes {
  // Parameters: numbers that are stored once.
  uint64_t linears = 0;        // weights of the layers' linears, which a recipe quantizes
  uint64_t embedding = 0;      // vocab_size × hidden_size
  uint64_t head = 0;           // the same again, unless the head is tied to the embedding
  uint64_t others = 0;         // norms, biases and routers
  uint64_t largest_layer = 0;  // linears of the layer that has most

  uint64_t Parameters() const { return linears + embedding + head + others; }
};
ModelSizes SizesOf(const ModelConfig& config);

// Floating-point operations for one token: 2 for each weight of the linears and of the head, whether tied or
// not; of a mixture, of the experts that a token goes to. Looking the embedding up costs none.
double FlopPerToken(const ModelConfig& config);
// Attention adds this for each position that the token attends to: 4 × layers × heads × head_dim.
double AttentionFlopPerPosition(const ModelConfig& config);

// Bytes of keys and values that one token leaves in a cache of fp16.
uint64_t KeyValueBytesPerToken(const ModelConfig& config);

// Bytes of f32 activations while `tokens` rows pass through a layer: the residual stream, two more rows of
// hidden_size, queries and their mix, keys, values, and both halves of the gated MLP.
uint64_t ActivationBytes(const ModelConfig& config, size_t tokens);

}  // namespace lowbit
