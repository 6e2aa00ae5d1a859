// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/config.h"

#include <algorithm>
#include <filesystem>

#include "lowbit/base/files.h"
#include "lowbit/model/config_fields.h"
#include "lowbit/model/config_keys.h"
#include "lowbit/model/config_rope.h"
#include "lowbit/model/layout.h"

namespace lowbit {
namespace {

// Far above any published model, and small enough that no product of three of them leaves 64 bits.
constexpr size_t kMaxVocabulary = size_t{1} << 24;
constexpr size_t kMaxHidden = size_t{1} << 20;
constexpr size_t kMaxIntermediate = size_t{1} << 22;
constexpr size_t kMaxHeads = size_t{1} << 12;
constexpr size_t kMaxHeadDim = size_t{1} << 12;
constexpr size_t kMaxPositions = size_t{1} << 30;
// Bounds what a layout takes in memory; Qwen3-235B-A22B has 94 × 128.
constexpr size_t kMaxExpertsOfAllLayers = size_t{1} << 14;

constexpr JsonLimits kLimits = {.max_bytes = size_t{1} << 20, .max_depth = 32};

std::string SupportedFamilies() {
  std::string names;
  for (const Family& family : Families()) {
    names += fmt::format("{}'{}'", names.empty() ? "" : " or ", family.model_type);
  }
  return names;
}

const Family& ParseFamily(const Fields& config) {
  const std::optional<std::string> type = config.OptionalText("model_type");
  if (!type.has_value()) config.RefuseMissing("model_type", SupportedFamilies());
  const Family* family = FindFamily(*type);
  if (family == nullptr) {
    config.Refuse("model_type", fmt::format("'{}' is not supported, expected {}", Printable(*type, 60),
                                            SupportedFamilies()));
  }
  const Json* architectures = config.Find("architectures");
  if (architectures == nullptr) return *family;
  if (!architectures->is_array() || architectures->empty() || !architectures->front().is_string()) {
    config.RefuseValue("architectures", *architectures, "a list of one name");
  }
  const std::string first = architectures->front().get<std::string>();
  if (first != family->architecture) {
    config.Refuse("architectures", fmt::format("'{}' disagrees with model_type '{}', expected '{}'",
                                               Printable(first, 60), *type, family->architecture));
  }
  return *family;
}

void ParseSizes(const Fields& config, const Family& family, ModelConfig& out) {
  out.vocab_size = config.Size("vocab_size", kMaxVocabulary);
  out.hidden_size = config.Size("hidden_size", kMaxHidden);
  out.intermediate_size = config.Size("intermediate_size", kMaxIntermediate);
  out.num_hidden_layers = config.Size("num_hidden_layers", kMaxLayers);
  out.max_position_embeddings = config.Size("max_position_embeddings", kMaxPositions);
  out.num_attention_heads = config.Size("num_attention_heads", kMaxHeads);
  const size_t heads = out.num_attention_heads;
  const bool divides = out.hidden_size % heads == 0;
  if (family.derives_head_sizes) {
    if (!divides) {
      config.Refuse("num_attention_heads", fmt::format("{}, expected a divisor of hidden_size, which is {}",
                                                       heads, out.hidden_size));
    }
    out.num_key_value_heads = config.OptionalSize("num_key_value_heads", kMaxHeads).value_or(heads);
    out.head_dim = config.OptionalSize("head_dim", kMaxHeadDim).value_or(out.hidden_size / heads);
  } else {
    out.num_key_value_heads = config.Size("num_key_value_heads", kMaxHeads);
    out.head_dim = config.Size("head_dim", kMaxHeadDim);
  }
  if (heads % out.num_key_value_heads != 0) {
    config.Refuse("num_key_value_heads",
                  fmt::format("{}, expected a divisor of num_attention_heads, which is {}",
                              out.num_key_value_heads, heads));
  }
  if (out.head_dim % 2 != 0 || out.head_dim > kMaxHeadDim) {
    config.Refuse("head_dim",
                  fmt::format("{}, expected an even number up to {}, as the rotary embedding works on pairs",
                              out.head_dim, kMaxHeadDim));
  }
}

// num_experts, or num_local_experts in newer files.
size_t ParseExpertCount(const Fields& config, size_t layers) {
  const size_t max = kMaxExpertsOfAllLayers / layers;
  const std::optional<size_t> old_name = config.OptionalSize("num_experts", max),
                              new_name = config.OptionalSize("num_local_experts", max);
  if (!old_name && !new_name)
    config.RefuseMissing("num_experts", fmt::format("an integer from 1 to {}", max));
  if (old_name && new_name && *old_name != *new_name) {
    config.Refuse("num_local_experts",
                  fmt::format("{} disagrees with num_experts, which is {}", *new_name, *old_name));
  }
  return old_name ? *old_name : *new_name;
}

void ParseDenseLayers(const Fields& config, ModelConfig& out) {
  const Json* layers = config.Find("mlp_only_layers");
  if (layers == nullptr) return;
  if (!layers->is_array()) config.RefuseValue("mlp_only_layers", *layers, "a list of layers");
  for (const Json& layer : *layers) {
    if (!layer.is_number_unsigned() || layer.get<uint64_t>() >= out.num_hidden_layers) {
      config.RefuseValue("mlp_only_layers", layer,
                         fmt::format("layers below num_hidden_layers, which is {}", out.num_hidden_layers));
    }
    out.mlp_only_layers.push_back(layer.get<size_t>());
  }
  std::ranges::sort(out.mlp_only_layers);
}

void ParseExperts(const Fields& config, ModelConfig& out) {
  out.num_experts = ParseExpertCount(config, out.num_hidden_layers);
  out.num_experts_per_tok = config.Size("num_experts_per_tok", out.num_experts);
  out.moe_intermediate_size = config.Size("moe_intermediate_size", kMaxIntermediate);
  out.norm_topk_prob =
      config.Flag("norm_topk_prob");  // transformers' default is not what published files say
  out.decoder_sparse_step = config.OptionalSize("decoder_sparse_step", kMaxLayers).value_or(1);
  ParseDenseLayers(config, out);
}

// lowbit knows full causal attention only.
void RefuseSlidingWindow(const Fields& config, size_t layers) {
  if (config.Flag("use_sliding_window", false)) {
    config.Refuse("use_sliding_window", "true: sliding window attention is not supported");
  }
  if (const Json* types = config.Find("layer_types")) {
    if (!types->is_array()) config.RefuseValue("layer_types", *types, "a list");
    for (const Json& type : *types) {
      if (type == "full_attention") continue;
      config.Refuse("layer_types",
                    fmt::format("{} is not supported, expected \"full_attention\"", JsonPreview(type)));
    }
    if (types->size() != layers) {
      config.Refuse("layer_types",
                    fmt::format("{} layers, expected num_hidden_layers, which is {}", types->size(), layers));
    }
  }
}

int64_t TokenId(const Fields& config, std::string_view key, const Json& value, size_t vocab_size) {
  if (value.is_number_unsigned() && value.get<uint64_t>() < vocab_size) return value.get<int64_t>();
  config.RefuseValue(key, value, fmt::format("an id below vocab_size, which is {}", vocab_size));
}

void ParseTokenIds(const Fields& config, ModelConfig& out) {
  if (const Json* bos = config.Find("bos_token_id")) {
    out.bos_token_id = TokenId(config, "bos_token_id", *bos, out.vocab_size);
  }
  const Json* eos = config.Find("eos_token_id");
  if (eos == nullptr) return;
  if (!eos->is_array()) {
    out.eos_token_ids.push_back(TokenId(config, "eos_token_id", *eos, out.vocab_size));
    return;
  }
  for (const Json& id : *eos)
    out.eos_token_ids.push_back(TokenId(config, "eos_token_id", id, out.vocab_size));
}

void ParseFlags(const Fields& config, const Family& family, ModelConfig& out) {
  out.tie_word_embeddings = config.Flag("tie_word_embeddings");
  out.attention_bias = config.Flag("attention_bias", false);
  out.mlp_bias = config.Flag("mlp_bias", false);
  if (out.mlp_bias && !family.has_mlp_bias) {
    config.Refuse("mlp_bias", fmt::format("true, but model_type '{}' has no such bias", family.model_type));
  }
  const std::string activation = config.OptionalText("hidden_act").value_or("silu");
  if (activation != "silu") {
    config.Refuse("hidden_act",
                  fmt::format("'{}' is not supported, expected 'silu'", Printable(activation, 40)));
  }
  const std::optional<std::string> dtype = config.OptionalText("dtype");
  out.torch_dtype = dtype.has_value() ? *dtype : config.OptionalText("torch_dtype").value_or("");
}

}  // namespace

ModelConfig ParseConfig(std::string_view text, const std::string& path) {
  const Json json = ParseJson(text, Place(path), kLimits);
  if (!json.is_object()) {
    throw Error(ErrorKind::kContent, Place(path), fmt::format("{}, expected an object", JsonPreview(json)));
  }
  const Fields config(json, Place(path));
  const Family& family = ParseFamily(config);
  CheckOtherKeys(config, family.has_experts);

  ModelConfig out;
  out.model_type = family.model_type;
  ParseSizes(config, family, out);
  if (family.has_experts) ParseExperts(config, out);
  ParseFlags(config, family, out);
  RefuseSlidingWindow(config, out.num_hidden_layers);
  // Smaller values vanish in f32 next to a mean of squares; larger ones are no guard but another model.
  out.rms_norm_eps = config.Number("rms_norm_eps", 1e-12, 0.1);
  RopeConfig rope = ParseRope(config);
  out.rope_theta = rope.theta;
  out.rope_scaling = rope.scaling;
  ParseTokenIds(config, out);
  return out;
}

bool ModelConfig::IsSparse(size_t layer) const {
  return num_experts > 0 && (layer + 1) % decoder_sparse_step == 0 &&
         !std::ranges::binary_search(mlp_only_layers, layer);
}

ModelConfig LoadConfig(const std::string& folder) {
  RequireDirectory(folder, "a checkpoint");
  const std::string path = (std::filesystem::path(folder) / "config.json").string();
  return ParseConfig(ReadFile(path, kLimits.max_bytes), path);
}

}  // namespace lowbit
