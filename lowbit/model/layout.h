// SPDX-License-Identifier: Apache-2.0
// Structure as data: which tensors a decoder layer has, and in which stages they work.
// A new family is a new table in families/ and one row of kFamilies. No algorithm asks which model it is.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/model/config.h"
#include "lowbit/tensor/view.h"

namespace lowbit {

// A matrix of a layer, y = x Wᵀ (+ bias). Names are relative to the layer: "self_attn.q_proj".
struct LinearSpec {
  std::string name;
  size_t out = 0, in = 0;              // the stored shape is [out, in]
  std::string_view out_from, in_from;  // where the sizes come from: "num_attention_heads × head_dim"
  bool bias = false;
};

// A norm weight of a layer: "input_layernorm" [size].
struct NormSpec {
  std::string name;
  size_t size = 0;
  std::string_view size_from;
};

// Linears that read the same input (one tap, one statistic), and who produces it. A producer is a norm or
// linear whose output channels can be rescaled to undo a scaling of the readers' columns; empty: nobody can.
struct Stage {
  std::string name;  // "attn_in", "attn_out", "mlp_in", "mlp_mid"; of expert 5 "mlp_mid.5"
  std::string producer;
  std::vector<std::string> readers;        // in the order of the layer's linears
  std::vector<std::string> fixed_readers;  // never quantized, but rescaled with the others: the router
};

// A mixture of gated MLPs in place of one: "mlp.experts.E.gate_proj", "up_proj" and "down_proj" are among
// the layer's linears.
inline constexpr std::string_view kRouterName = "mlp.gate";
struct ExpertsLayout {
  LinearSpec router;  // [count, hidden_size]; never quantized
  size_t count = 0;
  size_t active = 0;       // experts that each row goes to
  bool normalize = false;  // their weights sum to 1

  static std::string LinearName(size_t expert, std::string_view which);
};

struct LayerLayout {
  std::vector<NormSpec> norms;
  std::vector<LinearSpec> linears;  // every linear that may be quantized
  std::vector<Stage> stages;        // in execution order
  std::optional<ExpertsLayout> experts;

  const LinearSpec& Linear(std::string_view name) const;  // asserts that it exists
  const NormSpec* FindNorm(std::string_view name) const;  // nullptr when the family has none
};

struct ModelLayout {
  std::string embedding = "model.embed_tokens.weight";  // [vocab_size, hidden_size]
  std::string final_norm = "model.norm.weight";         // [hidden_size]
  std::string head;                                     // the embedding's name when tied
  std::vector<LayerLayout> layers;

  static std::string LayerPrefix(size_t layer);  // "model.layers.7."
};

struct Family {
  std::string_view model_type;    // config.json's model_type
  std::string_view architecture;  // its architectures[0]
  std::string_view description;
  LayerLayout (*layer)(const ModelConfig&, size_t index);

  // How its config.json is read. Absent num_key_value_heads and head_dim mean num_attention_heads and
  // hidden_size / num_attention_heads; otherwise they must be given, as no default fits all published files.
  bool derives_head_sizes;
  bool has_mlp_bias;
  bool has_experts;
};

std::span<const Family> Families();
const Family* FindFamily(std::string_view model_type);
ModelLayout LayoutOf(const ModelConfig& config);

// A tensor the checkpoint must hold, and why it has that shape.
struct ExpectedTensor {
  std::string name;
  Shape shape;
  std::string why;  // "[intermediate_size, hidden_size] of config.json"
};
std::vector<ExpectedTensor> ExpectedTensors(const ModelConfig& config);

}  // namespace lowbit
