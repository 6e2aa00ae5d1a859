// SPDX-License-Identifier: Apache-2.0
// lowbit inspect: what a checkpoint is, and what it will need; what calibration statistics say.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>

#include "lowbit/base/human.h"
#include "lowbit/calib/statistics_file.h"
#include "lowbit/cli/commands.h"
#include "lowbit/cli/inspection.h"
#include "lowbit/cli/statistics_summary.h"

namespace lowbit {
namespace {

struct TypeCount {
  size_t tensors = 0;
  uint64_t bytes = 0;
};

std::map<std::string, TypeCount> CountTypes(const Inspection& in) {
  std::map<std::string, TypeCount> types;
  for (const InspectedTensor& tensor : in.tensors) {
    ++types[tensor.type].tensors;
    types[tensor.type].bytes += tensor.bytes;
  }
  return types;
}

Json ConfigToJson(const ModelConfig& c) {
  Json scaling = nullptr;
  if (c.rope_scaling.has_value()) {
    scaling = {{"rope_type", "llama3"},
               {"factor", c.rope_scaling->factor},
               {"low_freq_factor", c.rope_scaling->low_freq_factor},
               {"high_freq_factor", c.rope_scaling->high_freq_factor},
               {"original_max_position_embeddings", c.rope_scaling->original_max_position_embeddings}};
  }
  return {{"model_type", c.model_type},
          {"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"num_hidden_layers", c.num_hidden_layers},
          {"num_attention_heads", c.num_attention_heads},
          {"num_key_value_heads", c.num_key_value_heads},
          {"head_dim", c.head_dim},
          {"rms_norm_eps", c.rms_norm_eps},
          {"rope_theta", c.rope_theta},
          {"rope_scaling", scaling},
          {"max_position_embeddings", c.max_position_embeddings},
          {"attention_bias", c.attention_bias},
          {"mlp_bias", c.mlp_bias},
          {"tie_word_embeddings", c.tie_word_embeddings},
          {"bos_token_id", c.bos_token_id ? Json(*c.bos_token_id) : Json(nullptr)},
          {"eos_token_ids", c.eos_token_ids}};
}

// Output errors of all layers, the largest first: what is worth looking at.
struct LayerLoss {
  std::string file, part;
  double relative = 0;
  const InputRange* range = nullptr;  // of inputs
};
std::vector<LayerLoss> LossesOf(const ArtefactInfo& a) {
  std::vector<LayerLoss> losses;
  for (const auto& [name, file] : a.files) {
    for (const auto& [part, relative] : file.output_errors) {
      LayerLoss& loss = losses.emplace_back(name, part, relative);
      if (!part.ends_with(kOfInputs)) continue;
      const auto range = file.input_ranges.find(part.substr(0, part.size() - kOfInputs.size()));
      if (range != file.input_ranges.end()) loss.range = &range->second;
    }
  }
  std::ranges::stable_sort(losses, std::greater(), &LayerLoss::relative);
  return losses;
}

std::string LayerOf(const LayerLoss& loss) {
  return loss.file.substr(0, loss.file.find('.'));
}

std::string RangeText(const LayerLoss& loss) {
  if (loss.range == nullptr) return "";
  return fmt::format(", |x| up to {:.3g}, peak {:.3g}", loss.range->largest, loss.range->peak);
}

// Whole layers: their mean and the worst; then the worst linears.
std::string LossesText(const ArtefactInfo& a) {
  constexpr size_t kShown = 5;
  const std::vector<LayerLoss> losses = LossesOf(a);
  double sum = 0;
  size_t layers = 0, shown = 0;
  std::string worst;
  for (const LayerLoss& loss : losses) {
    const bool is_layer = loss.part == kWholeLayer;
    if (is_layer && layers == 0) worst = fmt::format("{:.3g} in {}", loss.relative, LayerOf(loss));
    if (is_layer) sum += loss.relative, ++layers;
  }
  if (layers == 0) return "";
  std::string text =
      fmt::format("  {:<12} {:.3g} in the mean over layers, at most {}; held-out text, relative\n",
                  "output error", sum / static_cast<double>(layers), worst);
  for (const LayerLoss& loss : losses) {
    if (loss.part == kWholeLayer) continue;
    text += fmt::format("  {:<12} {:.3g} {} {}{}\n", shown == 0 ? "worst" : "", loss.relative, LayerOf(loss),
                        Printable(loss.part), RangeText(loss));
    if (++shown == kShown) break;
  }
  return text;
}

Json ArtefactToJson(const ArtefactInfo& a) {
  Json losses = Json::array();
  for (const LayerLoss& loss : LossesOf(a)) {
    Json& entry = losses.emplace_back(
        Json{{"layer", LayerOf(loss)}, {"part", loss.part}, {"relative_error", loss.relative}});
    if (loss.range != nullptr) entry.update({{"largest", loss.range->largest}, {"peak", loss.range->peak}});
  }
  return {{"recipe", a.recipe},
          {"output_errors", losses},
          {"quantized_weights", a.quantized_weights},
          {"bits_per_quantized_weight", a.BitsPerQuantizedWeight()},
          {"code_bits_per_weight", a.code_bits > 0 ? Json(a.CodeBitsPerWeight()) : Json()},
          {"bits_per_model_weight", a.BitsPerModelWeight()},
          {"model_bytes", (a.model_bits + 7) / 8},
          {"file_bytes", a.FileBytes()},
          {"relative_error", a.relative_error},
          {"code_version", a.code_version}};
}

std::string RotaryText(const ModelConfig& c) {
  std::string text = fmt::format("theta {:g}", c.rope_theta);
  if (const auto& s = c.rope_scaling) {
    text += fmt::format(", llama3 scaling by {:g} beyond {} positions", s->factor,
                        s->original_max_position_embeddings);
  }
  return text;
}

std::string TypesText(const Inspection& in) {
  std::string text;
  for (const auto& [type, count] : CountTypes(in)) {
    text +=
        fmt::format("{}{} {} ({})", text.empty() ? "" : ", ", count.tensors, type, HumanBytes(count.bytes));
  }
  return text;
}

std::string ParametersText(const ModelSizes& sizes) {
  const std::string head = sizes.head == 0 ? "" : HumanCount(sizes.head) + " head, ";
  return fmt::format("{}: {} in linears, {} embedding, {}{} norms and biases", HumanCount(sizes.Parameters()),
                     HumanCount(sizes.linears), HumanCount(sizes.embedding), head, HumanCount(sizes.others));
}

std::string TensorTable(const Inspection& in) {
  size_t name_width = 0, shape_width = 0;
  for (const InspectedTensor& t : in.tensors) {
    name_width = std::max(name_width, Printable(t.name).size());
    shape_width = std::max(shape_width, t.shape.size());
  }
  std::string text;
  for (const InspectedTensor& t : in.tensors) {
    text += fmt::format("  {:<{}}  {:<5} {:<{}} {:>8}  {}\n", Printable(t.name), name_width, t.type, t.shape,
                        shape_width, HumanBytes(t.bytes), Printable(t.file));
  }
  return text;
}

double Giga(double value) {
  return value / 1e9;
}

}  // namespace

Json ToJson(const Inspection& in, bool with_tensors) {
  Json types = Json::object(), list = Json::array(), artefacts = Json::array();
  for (const auto& [type, count] : CountTypes(in))
    types[type] = {{"tensors", count.tensors}, {"bytes", count.bytes}};
  for (const InspectedTensor& t : in.tensors) {
    list.push_back({{"name", t.name},
                    {"type", t.type},
                    {"shape", Json::parse(t.shape)},
                    {"bytes", t.bytes},
                    {"file", t.file}});
  }
  for (const ArtefactEstimate& a : in.artefacts) {
    artefacts.push_back({{"recipe", a.recipe},
                         {"bits_per_weight", a.bits_per_weight},
                         {"bytes", a.bytes},
                         {"model_bytes", a.model_bytes}});
  }
  Json json = {
      {"folder", in.folder},
      {"architecture", in.architecture},
      {"config", ConfigToJson(in.config)},
      {"tensors", {{"count", in.tensors.size()}, {"bytes", in.tensor_bytes}, {"types", types}}},
      {"files", {{"count", in.files}, {"bytes", in.disk_bytes}}},
      {"parameters",
       {{"total", in.sizes.Parameters()},
        {"linears", in.sizes.linears},
        {"embedding", in.sizes.embedding},
        {"head", in.sizes.head},
        {"others", in.sizes.others}}},
      {"kv_bytes_per_token", KeyValueBytesPerToken(in.config)},
      {"gflop_per_token", Giga(FlopPerToken(in.config))},
      {"attention_gflop_per_1024_positions", Giga(AttentionFlopPerPosition(in.config) * 1024)},
      {"memory",
       {{"window", in.memory.window},
        {"all_layers_f32", in.memory.all_layers_f32},
        {"all_layers_bf16", in.memory.all_layers_bf16},
        {"one_layer_f32", in.memory.one_layer_f32},
        {"one_layer_bf16", in.memory.one_layer_bf16}}},
      {"artefacts", artefacts},
  };
  if (with_tensors) json["tensors"]["list"] = list;
  if (in.artefact.has_value()) json["artefact"] = ArtefactToJson(*in.artefact);
  return json;
}

std::string ToText(const Inspection& in, bool with_tensors) {
  const ModelConfig& c = in.config;
  const ModelSizes& s = in.sizes;
  std::string text;
  const auto line = [&](std::string_view label, const std::string& value) {
    text += fmt::format("  {:<12} {}\n", label, value);
  };
  if (const auto& a = in.artefact) {
    text += fmt::format("{} of {}\n", a->recipe, Printable(in.folder, 5000));
    line("quantized", fmt::format("{} weights at {:.3f} bits each, scales and zero points counted",
                                  HumanCount(a->quantized_weights), a->BitsPerQuantizedWeight()));
    if (a->code_bits > 0)
      line("planes", fmt::format("{:.3f} bits of code each, as papers count", a->CodeBitsPerWeight()));
    line("whole model", fmt::format("{} weights at {:.3f} bits each: {}", HumanCount(a->model_weights),
                                    a->BitsPerModelWeight(), HumanBytes((a->model_bits + 7) / 8)));
    line("error", fmt::format("{:.4g} of the weights' norm", a->relative_error));
    text += LossesText(*a);
    line("files", fmt::format("{} in {}", HumanBytes(a->FileBytes()), a->files.size()));
    text += "\n";
  }
  text += fmt::format("{}: {}, {}\n", Printable(in.folder, 5000), in.architecture, in.description);
  line("layers", fmt::format("{} of hidden size {}, gated MLP of {}", c.num_hidden_layers, c.hidden_size,
                             c.intermediate_size));
  line("attention", fmt::format("{} heads of {}, {} of keys and values", c.num_attention_heads, c.head_dim,
                                c.num_key_value_heads));
  line("vocabulary", fmt::format("{}, head {}", c.vocab_size,
                                 c.tie_word_embeddings ? "tied to the embedding" : "of its own"));
  line("rotary", RotaryText(c));
  line("norms", fmt::format("eps {:g}", c.rms_norm_eps));
  line("context", fmt::format("{} tokens", c.max_position_embeddings));
  line("parameters", ParametersText(s));
  line("tensors", fmt::format("{}: {}", in.tensors.size(), TypesText(in)));
  line("on disk",
       fmt::format("{} in {} file{}", HumanBytes(in.disk_bytes), in.files, in.files == 1 ? "" : "s"));
  line("cache", fmt::format("{} bytes of keys and values per token, in fp16", KeyValueBytesPerToken(c)));
  line("work", fmt::format("{:.3g} GFLOP per token, and {:.3g} for every 1024 positions attended to",
                           Giga(FlopPerToken(c)), Giga(AttentionFlopPerPosition(c) * 1024)));

  text += fmt::format("\nMemory to evaluate, window of {} tokens   {:>9} {:>9}\n", in.memory.window, "f32",
                      "bf16");
  const auto memory = [&](std::string_view label, uint64_t f32, uint64_t bf16) {
    text += fmt::format("  {:<40} {:>9} {:>9}\n", label, HumanBytes(f32), HumanBytes(bf16));
  };
  memory("one layer at a time", in.memory.one_layer_f32, in.memory.one_layer_bf16);
  memory("all weights in memory", in.memory.all_layers_f32, in.memory.all_layers_bf16);

  text += fmt::format("\n{:<16} {:>16} {:>11} {:>24}\n", "Artefacts", "bits per weight", "size",
                      "size with kept tensors");
  for (const ArtefactEstimate& a : in.artefacts) {
    text += fmt::format("  {:<14} {:>16.3f} {:>11} {:>24}\n", a.recipe, a.bits_per_weight,
                        HumanBytes(a.bytes), HumanBytes(a.model_bytes));
  }
  if (with_tensors) text += "\nTensors\n" + TensorTable(in);
  return text;
}

namespace {

struct Options {
  std::string folder;
  bool json = false, tensors = false;
};

void Print(const Json& json) {
  fmt::print("{}\n", json.dump(2, ' ', false, Json::error_handler_t::replace));
}

void InspectStatistics(const Options& options) {
  if (options.tensors) {
    throw Error(ErrorKind::kUsage, "--tensors is for checkpoints and artefacts, not for statistics");
  }
  const ModelStatistics statistics = ReadStatistics(options.folder, ReadGrams::kNo);
  if (options.json) {
    Print(StatisticsToJson(options.folder, statistics));
  } else {
    fmt::print("{}", StatisticsToText(options.folder, statistics));
  }
}

void RunInspect(const Options& options) {
  std::error_code ignored;
  if (options.folder.ends_with(".safetensors") && std::filesystem::is_regular_file(options.folder, ignored)) {
    InspectStatistics(options);
    return;
  }
  const Inspection inspection = Inspect(options.folder);
  if (options.json) {
    Print(ToJson(inspection, options.tensors));
  } else {
    fmt::print("{}", ToText(inspection, options.tensors));
  }
}

}  // namespace

void AddInspectCommand(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("inspect",
                         "say what a checkpoint or an artefact is, and what it will need; or what "
                         "calibration statistics say");
  auto options = std::make_shared<Options>();
  command->add_option("folder", options->folder, "checkpoint or artefact folder, or a file of statistics")
      ->required();
  command->add_flag("--tensors", options->tensors, "list every tensor");
  command->add_flag("--json", options->json, "machine-readable output on stdout");
  command->footer(
      "Checks that config.json and the tensors belong together, by names, types and shapes. Estimates:\n"
      "  work                  2 x (weights of the linears and the head) FLOP per token;\n"
      "                        attention 4 x layers x heads x head_dim per position attended to\n"
      "  cache                 4 x layers x key/value heads x head_dim bytes per token\n"
      "  all weights in memory 4 (f32) or 2 (bf16) bytes x parameters, and the activations\n"
      "  one layer at a time   4 or 2 bytes x the linears of the largest layer, and the activations\n"
      "  activations           4 bytes x tokens x (3 hidden + 2 x heads x head_dim + 2 x key/value heads x "
      "head_dim\n"
      "                        + 2 x intermediate); more windows at once add 4 bytes x tokens x hidden\n"
      "  artefacts             codes of whole bytes per row, an f16 scale and a byte of zero point per "
      "group\n"
      "Examples:\n"
      "  lowbit inspect Qwen3-0.6B\n"
      "  lowbit inspect q4 --json | jq .parameters.total\n"
      "  lowbit inspect statistics-00003.safetensors");
  command->callback([options] { RunInspect(*options); });
}

}  // namespace lowbit
