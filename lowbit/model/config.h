// SPDX-License-Identifier: Apache-2.0
// Room model: structure as data and the forward pass, one layer at a time.
// In:  a folder's config.json and tensors (or an artefact), token ids.   Out: hidden states,
// log-probabilities. Non-goals: which method packed a weight (quant), what a score means (eval). Start
// reading here, then layout.h (which tensors, in which stages), layer_source.h and decoder.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lowbit {

inline constexpr size_t kMaxLayers = size_t{1} << 12;  // far above any published model

struct RopeScaling {  // rope_type "llama3" (docs/models.md)
  double factor = 1, low_freq_factor = 1, high_freq_factor = 4;
  size_t original_max_position_embeddings = 8192;

  bool operator==(const RopeScaling&) const = default;
};

// config.json of a causal decoder, checked. Names follow the file.
struct ModelConfig {
  std::string model_type;  // "qwen3", "qwen3_moe", "llama": a row of kFamilies (layout.h)
  size_t vocab_size = 0;   // rows of the embedding; may exceed the tokenizer's size
  size_t hidden_size = 0;
  size_t intermediate_size = 0;
  size_t num_hidden_layers = 0;
  size_t num_attention_heads = 0;
  size_t num_key_value_heads = 0;
  size_t head_dim = 0;  // even; heads * head_dim need not equal hidden_size
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  size_t max_position_embeddings = 0;
  bool attention_bias = false;  // q, k, v and o
  bool mlp_bias = false;        // gate, up and down; LLaMA only
  bool tie_word_embeddings = false;

  // Mixture of experts: gated MLPs of which each row takes a few. 0 experts in families without.
  size_t num_experts = 0;  // written num_local_experts by transformers 5
  size_t num_experts_per_tok = 0;
  size_t moe_intermediate_size = 0;  // width of one expert
  bool norm_topk_prob = false;       // the chosen experts' weights sum to 1
  size_t decoder_sparse_step = 1;
  std::vector<size_t> mlp_only_layers;  // sorted; these stay dense

  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_ids;
  std::string torch_dtype;  // a hint only; each tensor's own type decides. Empty when absent

  size_t QuerySize() const { return num_attention_heads * head_dim; }
  size_t KeyValueSize() const { return num_key_value_heads * head_dim; }
  bool IsSparse(size_t layer) const;  // has experts
};

// Reads and checks FOLDER/config.json, in the style of transformers 4 (rope_theta, rope_scaling,
// torch_dtype) or 5 (rope_parameters, dtype). Nothing that changes numbers is guessed: a size, rope_theta,
// rms_norm_eps, head_dim of Qwen3 or tie_word_embeddings that is missing where transformers' default is
// not certain to be meant is an error. Throws Error{kMissing} or Error{kContent} naming file and key.
ModelConfig LoadConfig(const std::string& folder);
ModelConfig ParseConfig(std::string_view text, const std::string& path);

}  // namespace lowbit
