// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/sizes.h"

#include <algorithm>

#include "lowbit/model/layout.h"

namespace lowbit {

ModelSizes SizesOf(const ModelConfig& config) {
  const ModelLayout layout = LayoutOf(config);
  ModelSizes sizes;
  sizes.embedding = uint64_t{config.vocab_size} * config.hidden_size;
  sizes.head = layout.head == layout.embedding ? 0 : sizes.embedding;
  sizes.others = config.hidden_size;  // the final norm
  for (const LayerLayout& layer : layout.layers) {
    uint64_t linears = 0;
    for (const LinearSpec& linear : layer.linears) {
      linears += uint64_t{linear.out} * linear.in;
      if (linear.bias) sizes.others += linear.out;
    }
    for (const NormSpec& norm : layer.norms) sizes.others += norm.size;
    sizes.linears += linears;
    sizes.largest_layer = std::max(sizes.largest_layer, linears);
  }
  return sizes;
}

double FlopPerToken(const ModelConfig& config) {
  const ModelSizes sizes = SizesOf(config);
  return 2.0 * static_cast<double>(sizes.linears + sizes.embedding);  // the head has the embedding's size
}

double AttentionFlopPerPosition(const ModelConfig& config) {
  return 4.0 * static_cast<double>(config.num_hidden_layers * config.QuerySize());
}

uint64_t KeyValueBytesPerToken(const ModelConfig& config) {
  constexpr uint64_t kHalf = 2;
  return 2 * kHalf * config.num_hidden_layers * config.KeyValueSize();
}

uint64_t ActivationBytes(const ModelConfig& config, size_t tokens) {
  const uint64_t row = 3 * config.hidden_size + 2 * config.QuerySize() + 2 * config.KeyValueSize() +
                       2 * config.intermediate_size;
  return tokens * row * sizeof(float);
}

}  // namespace lowbit
