// SPDX-License-Identifier: Apache-2.0
// config.json: an accepted one gives sizes that fit together and whose sums do not overflow.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "fuzz/target.h"
#include "lowbit/base/json.h"
#include "lowbit/model/config.h"
#include "lowbit/model/layout.h"
#include "lowbit/model/sizes.h"

namespace lowbit::fuzz {
namespace {

std::string Text(const ModelConfig& c) {
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {} {} {} {}", c.model_type, c.vocab_size, c.hidden_size,
                     c.intermediate_size, c.num_hidden_layers, c.num_attention_heads, c.num_key_value_heads,
                     c.head_dim, c.rms_norm_eps, c.rope_theta, c.max_position_embeddings,
                     c.tie_word_embeddings, c.bos_token_id.value_or(-1), fmt::join(c.eos_token_ids, ","));
}

void CheckSizes(const ModelConfig& c) {
  Require(c.vocab_size > 0 && c.hidden_size > 0 && c.num_hidden_layers > 0, "a size of 0");
  Require(c.num_key_value_heads > 0 && c.num_attention_heads % c.num_key_value_heads == 0, "heads");
  Require(c.head_dim > 0 && c.head_dim % 2 == 0, "an odd head_dim");
  const ModelLayout layout = LayoutOf(c);
  Require(layout.layers.size() == c.num_hidden_layers, "layers");
  unsigned __int128 linears = 0;
  for (const LayerLayout& layer : layout.layers) {
    for (const LinearSpec& linear : layer.linears)
      linears += static_cast<unsigned __int128>(linear.out) * linear.in;
  }
  Require(linears == SizesOf(c).linears, "a number of weights that overflows");
}

}  // namespace

LOWBIT_FUZZ_TARGET(config) {
  ModelConfig config;
  if (!Accepts(input, [&] { config = ParseConfig(input, "config.json"); })) return;
  Accepts(input, [&] { CheckSizes(config); });
  const Json json = ParseJson(input, Place("config.json"));
  Require(Text(ParseConfig(json.dump(), "config.json")) == Text(config),
          "written anew it reads back differently");
}

}  // namespace lowbit::fuzz
