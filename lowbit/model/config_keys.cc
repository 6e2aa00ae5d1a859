// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/config_keys.h"

#include <algorithm>
#include <array>
#include <vector>

#include "lowbit/base/log.h"

namespace lowbit {
namespace {

// The value at which a key changes nothing. Null always is one.
enum class Neutral : uint8_t { kNone, kFalse, kZero, kOne, kEmpty };

struct Unsupported {
  std::string_view key;
  Neutral neutral;
  std::string_view why;
};

constexpr std::string_view kCode = "asks to run code, which lowbit never does";
constexpr std::string_view kQuantized = "the weights are quantized already, expected the original checkpoint";
constexpr std::string_view kScale = "an extra scale, which lowbit does not support";
constexpr std::string_view kCap = "a soft cap, which lowbit does not support";
constexpr std::string_view kAttention = "an attention pattern that lowbit does not support";
constexpr std::string_view kRotary = "a rotary embedding that lowbit does not support";
constexpr std::string_view kNorm = "a normalisation that lowbit does not support";
constexpr std::string_view kExperts = "a mixture of experts, which this model_type does not have";
constexpr std::string_view kStructure = "a model structure that lowbit does not support";

constexpr std::array kUnsupported = {
    Unsupported{"auto_map", Neutral::kNone, kCode},
    Unsupported{"custom_pipelines", Neutral::kNone, kCode},
    Unsupported{"trust_remote_code", Neutral::kFalse, kCode},
    Unsupported{"quantization_config", Neutral::kNone, kQuantized},
    Unsupported{"compression_config", Neutral::kNone, kQuantized},
    Unsupported{"quantization", Neutral::kNone, kQuantized},
    Unsupported{"logits_scaling", Neutral::kOne, kScale},
    Unsupported{"logit_scale", Neutral::kOne, kScale},
    Unsupported{"embedding_multiplier", Neutral::kOne, kScale},
    Unsupported{"residual_multiplier", Neutral::kOne, kScale},
    Unsupported{"lm_head_multiplier", Neutral::kOne, kScale},
    Unsupported{"attention_multiplier", Neutral::kNone, kScale},
    Unsupported{"query_pre_attn_scalar", Neutral::kNone, kScale},
    Unsupported{"scale_emb", Neutral::kOne, kScale},
    Unsupported{"scale_depth", Neutral::kNone, kScale},
    Unsupported{"dim_model_base", Neutral::kNone, kScale},
    Unsupported{"mscale", Neutral::kOne, kScale},
    Unsupported{"attn_logit_softcapping", Neutral::kNone, kCap},
    Unsupported{"final_logit_softcapping", Neutral::kNone, kCap},
    Unsupported{"attention_chunk_size", Neutral::kNone, kAttention},
    Unsupported{"sliding_window_pattern", Neutral::kNone, kAttention},
    Unsupported{"attn_temperature_tuning", Neutral::kFalse, kAttention},
    Unsupported{"clip_qkv", Neutral::kNone, kAttention},
    Unsupported{"alibi", Neutral::kFalse, kAttention},
    Unsupported{"partial_rotary_factor", Neutral::kOne, kRotary},
    Unsupported{"rotary_pct", Neutral::kOne, kRotary},
    Unsupported{"rope_interleaved", Neutral::kFalse, kRotary},
    Unsupported{"use_mrope", Neutral::kFalse, kRotary},
    Unsupported{"rope_local_base_freq", Neutral::kNone, kRotary},
    Unsupported{"no_rope_layers", Neutral::kEmpty, kRotary},
    Unsupported{"no_rope_layer_interval", Neutral::kNone, kRotary},
    Unsupported{"use_qk_norm", Neutral::kFalse, kNorm},
    Unsupported{"qk_layernorm", Neutral::kFalse, kNorm},
    Unsupported{"qkv_bias", Neutral::kFalse, kStructure},
    Unsupported{"use_parallel_residual", Neutral::kFalse, kStructure},
    Unsupported{"parallel_attn", Neutral::kFalse, kStructure},
    Unsupported{"pretraining_tp", Neutral::kOne, kStructure},
    Unsupported{"num_experts", Neutral::kZero, kExperts},
    Unsupported{"num_local_experts", Neutral::kZero, kExperts},
    Unsupported{"n_routed_experts", Neutral::kZero, kStructure},
    Unsupported{"n_shared_experts", Neutral::kZero, kStructure},
    Unsupported{"shared_expert_intermediate_size", Neutral::kZero, kStructure},
    Unsupported{"is_encoder_decoder", Neutral::kFalse, kStructure},
    Unsupported{"add_cross_attention", Neutral::kFalse, kStructure},
    Unsupported{"text_config", Neutral::kNone, kStructure},
    Unsupported{"vision_config", Neutral::kNone, kStructure},
    Unsupported{"pruned_heads", Neutral::kEmpty, kStructure},
};

// Read by config.cc, or without influence on the numbers of a forward pass. Sorted.
// clang-format off
constexpr std::string_view kKnown[] = {
    "_attn_implementation", "_attn_implementation_autoset", "_attn_implementation_internal",
    "_commit_hash", "_from_model_config", "_name_or_path", "architectures", "attention_bias",
    "attention_dropout", "attn_implementation", "bad_words_ids", "begin_suppress_tokens", "bos_token_id",
    "chunk_size_feed_forward", "cross_attention_hidden_size", "decoder_sparse_step",
    "decoder_start_token_id", "diversity_penalty", "do_sample", "dtype", "early_stopping",
    "encoder_no_repeat_ngram_size", "eos_token_id", "exponential_decay_length_penalty", "finetuning_task",
    "forced_bos_token_id", "forced_eos_token_id", "head_dim", "hidden_act", "hidden_size", "id2label",
    "initializer_range", "intermediate_size", "is_decoder", "is_llama_config", "label2id", "layer_types",
    "length_penalty", "max_length", "max_position_embeddings", "max_window_layers", "min_length",
    "mlp_bias", "mlp_only_layers", "model_type", "moe_intermediate_size", "no_repeat_ngram_size",
    "norm_topk_prob", "num_attention_heads", "num_beam_groups", "num_beams", "num_experts_per_tok",
    "num_hidden_layers", "num_key_value_heads", "num_return_sequences", "output_attentions",
    "output_hidden_states", "output_router_logits", "output_scores", "pad_token_id", "prefix",
    "problem_type", "remove_invalid_values", "repetition_penalty", "return_dict",
    "return_dict_in_generate", "rms_norm_eps", "rope_parameters", "rope_scaling", "rope_theta",
    "router_aux_loss_coef", "router_jitter_noise", "sep_token_id", "sliding_window", "suppress_tokens",
    "task_specific_params", "temperature", "tf_legacy_loss", "tie_encoder_decoder", "tie_word_embeddings",
    "tokenizer_class", "top_k", "top_p", "torch_dtype", "torchscript", "transformers.js_config",
    "transformers_version", "typical_p", "unsloth_fixed", "unsloth_version", "use_bfloat16", "use_cache",
    "use_sliding_window", "vocab_size",
};
// clang-format on
static_assert(std::ranges::is_sorted(kKnown));

bool IsNeutral(const Json& value, Neutral neutral) {
  if (value.is_null()) return true;
  switch (neutral) {
    case Neutral::kNone:
      return false;
    case Neutral::kFalse:
      return value.is_boolean() && !value.get<bool>();
    case Neutral::kZero:
      return value.is_number() && value == 0;
    case Neutral::kOne:
      return value.is_number() && value == 1;
    case Neutral::kEmpty:
      return value.is_structured() && value.empty();
  }
  return false;
}

// transformers takes an attention implementation with a slash for the name of a repository to load code from.
bool NamesRepository(std::string_view key, const Json& value) {
  return key.find("attn_implementation") != std::string_view::npos && value.is_string() &&
         value.get_ref<const std::string&>().find('/') != std::string::npos;
}

}  // namespace

void CheckOtherKeys(const Fields& config, bool has_experts) {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : config.object().items()) {
    if (NamesRepository(key, value)) config.Refuse(key, fmt::format("{}: {}", JsonPreview(value), kCode));
    const auto* row = std::ranges::find(kUnsupported, key, &Unsupported::key);
    if (row != kUnsupported.end()) {
      if (row->why == kExperts && has_experts) continue;
      if (!IsNeutral(value, row->neutral))
        config.Refuse(key, fmt::format("{}: {}", JsonPreview(value), row->why));
    } else if (!std::ranges::binary_search(kKnown, std::string_view(key)) && !value.is_null()) {
      unknown.push_back(Printable(key, 60));
    }
  }
  if (unknown.empty()) return;
  constexpr size_t kShown = 8;
  const size_t shown = std::min(unknown.size(), kShown);
  LogWarning(fmt::format("{}: lowbit does not know and does not use: {}{}", config.file(),
                         fmt::join(unknown.begin(), unknown.begin() + static_cast<ptrdiff_t>(shown), ", "),
                         unknown.size() > shown ? fmt::format(" and {} more", unknown.size() - shown) : ""));
}

}  // namespace lowbit
