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
    if (layer.experts) sizes.others += uint64_t{layer.experts->router.out} * layer.experts->router.in;
    sizes.linears += linears;
    sizes.largest_layer = std::max(sizes.largest_layer, linears);
  }
  return sizes;
}

double FlopPerToken(const ModelConfig& config) {
  uint64_t touched = uint64_t{config.vocab_size} * config.hidden_size;  // the head
  for (const LayerLayout& layer : LayoutOf(config).layers) {
    uint64_t all = 0, of_experts = 0;
    for (const LinearSpec& linear : layer.linears) {
      const uint64_t weights = uint64_t{linear.out} * linear.in;
      (layer.experts && linear.name.starts_with("mlp.") ? of_experts : all) += weights;
    }
    touched += all;
    if (!layer.experts) continue;
    const ExpertsLayout& experts = *layer.experts;
    touched += of_experts / experts.count * experts.active + uint64_t{experts.router.out} * experts.router.in;
  }
  return 2.0 * static_cast<double>(touched);
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
