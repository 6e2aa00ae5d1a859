// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/check.h"

#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "lowbit/base/log.h"
#include "lowbit/model/layout.h"

namespace lowbit {
namespace {

constexpr std::string_view kHead = "lm_head.weight";
constexpr std::string_view kLayers = "model.layers.";

class TensorCheck {
 public:
  TensorCheck(const Checkpoint& checkpoint, const ModelConfig& config)
      : checkpoint_(checkpoint),
        config_(config),
        expected_(ExpectedTensors(config)),
        names_(checkpoint.Names()) {
    for (const ExpectedTensor& tensor : expected_) expected_names_.insert(tensor.name);
  }

  void Run() const {
    CheckLayerCount();
    for (const ExpectedTensor& tensor : expected_) {
      if (!checkpoint_.Has(tensor.name)) RefuseMissing(tensor);
      checkpoint_.Get(tensor.name, tensor.shape, tensor.why);
    }
    CheckUnused();
  }

 private:
  [[noreturn]] void Refuse(std::string_view tensor, std::string message, std::string hint = "") const {
    const std::string& file =
        checkpoint_.Has(tensor) ? checkpoint_.FileOf(tensor).path() : checkpoint_.source();
    Error error(ErrorKind::kContent, Place(file).Tensor(Printable(tensor)), std::move(message));
    if (!hint.empty()) error.Hint(std::move(hint));
    throw error;
  }

  // Layers beyond the last would be cut off without a word, so their number is checked by itself.
  void CheckLayerCount() const {
    size_t stored = 0;
    std::string_view last;
    for (const std::string& name : names_) {
      const std::optional<size_t> layer = LayerOf(name);
      if (!layer.has_value() || *layer < stored) continue;
      stored = *layer + 1;
      last = name;
    }
    const size_t wanted = config_.num_hidden_layers;
    if (stored == wanted) return;
    const std::string next = ModelLayout::LayerPrefix(stored) + "input_layernorm.weight";
    Refuse(
        stored > wanted ? std::string(last) : next,
        fmt::format("{} layers are stored, expected {} (num_hidden_layers of config.json)", stored, wanted));
  }

  static std::optional<size_t> LayerOf(std::string_view name) {
    if (!name.starts_with(kLayers)) return std::nullopt;
    name.remove_prefix(kLayers.size());
    size_t layer = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), layer);
    const bool is_layer = error == std::errc() && end != name.data() + name.size() && *end == '.';
    if (!is_layer || layer > size_t{1} << 20) return std::nullopt;
    return layer;
  }

  [[noreturn]] void RefuseMissing(const ExpectedTensor& tensor) const {
    const std::string owner = tensor.name.substr(0, tensor.name.rfind('.') + 1);  // "…q_proj."
    const auto other =
        std::ranges::find_if(names_, [&](const std::string& n) { return n.starts_with(owner); });
    std::string hint;
    if (other != names_.end())
      hint = fmt::format("'{}' is there: the weights may be quantized", Printable(*other));
    if (std::ranges::binary_search(checkpoint_.unlisted(), tensor.name)) {
      hint = "a shard holds it, but the index does not list it";
    }
    Refuse(tensor.name,
           fmt::format("missing, expected {} for model_type '{}' ({})", ShapeText(tensor.shape),
                       config_.model_type, tensor.why),
           hint);
  }

  void CheckUnused() const {
    std::vector<std::string_view> unused;
    for (const std::string& name : names_) {
      if (expected_names_.contains(name) || name.ends_with(".rotary_emb.inv_freq")) continue;
      if (name == kHead) {
        WarnOfAnotherHead();
        continue;
      }
      RefuseIfItCounts(name);
      unused.push_back(name);
    }
    if (unused.empty()) return;
    LogWarning(fmt::format("{}: {} tensors are not used by model_type '{}', the first is '{}'",
                           checkpoint_.source(), unused.size(), config_.model_type,
                           Printable(unused.front())));
  }

  // Tied checkpoints may store the head once more: it is not used. Saying so where it is another matrix costs
  // little, since two matrices that differ do so in their first rows.
  void WarnOfAnotherHead() const {
    static constexpr size_t kSample = 4096;
    const TensorView head = checkpoint_.Get(kHead), tied = checkpoint_.Get(ModelLayout().embedding);
    const auto sample = [](const TensorView& t) { return t.bytes.first(std::min(kSample, t.bytes.size())); };
    if (head.type == tied.type && head.shape == tied.shape && std::ranges::equal(sample(head), sample(tied)))
      return;
    LogWarning(fmt::format(
        "{}: '{}' differs from the embedding and is not used, as tie_word_embeddings of config.json is true",
        checkpoint_.source(), kHead));
  }

  // `name` is not expected: does it change what the model computes?
  void RefuseIfItCounts(const std::string& name) const {
    const std::string owner = name.substr(0, name.rfind('.'));
    if (expected_names_.contains(owner + ".weight")) {
      const bool is_bias = name.ends_with(".bias");
      const bool in_mlp = owner.find(".mlp.") != std::string::npos;
      const std::string why = is_bias
                                  ? fmt::format("where {} is false", in_mlp ? "mlp_bias" : "attention_bias")
                                  : std::string("which has plain weights");
      Refuse(
          name, fmt::format("not expected by config.json, {}", why),
          is_bias ? "" : "weights that another tool quantized cannot be used; take the original checkpoint");
    }
    if (!LayerOf(name).has_value()) return;
    if (owner.ends_with("norm")) {
      Refuse(name,
             fmt::format("a norm that model_type '{}' of config.json does not have", config_.model_type));
    }
    const bool is_block =
        owner.find(".mlp.") != std::string::npos || owner.find(".self_attn.") != std::string::npos;
    if (is_block && name.ends_with(".weight")) {  // one expert more, an expert shared by all rows
      Refuse(name, fmt::format("not expected by config.json for model_type '{}'", config_.model_type));
    }
  }

  const Checkpoint& checkpoint_;
  const ModelConfig& config_;
  std::vector<ExpectedTensor> expected_;
  std::vector<std::string> names_;  // sorted
  std::unordered_set<std::string_view> expected_names_;
};

}  // namespace

void CheckTensors(const Checkpoint& checkpoint, const ModelConfig& config) {
  TensorCheck(checkpoint, config).Run();
}

}  // namespace lowbit
