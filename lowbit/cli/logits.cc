// SPDX-License-Identifier: Apache-2.0
// lowbit logits: raw outputs of a model, to be held against another implementation's.
#include <memory>

#include "lowbit/base/json.h"
#include "lowbit/cli/commands.h"
#include "lowbit/cli/compute_options.h"
#include "lowbit/cli/token_json.h"
#include "lowbit/model/decoder.h"

namespace lowbit {
namespace {

struct Options {
  std::string model, ids, out;
  bool hidden = false;
  ComputeOptions compute;
  MemoryOptions memory;
};

std::vector<TokenIds> ReadSequences(const std::string& path) {
  const Json json = ReadJsonFile(path);
  const Place place = Place(path).Key("sequences");
  if (!json.is_object() || !json.contains("sequences") || !json["sequences"].is_array()) {
    throw Error(ErrorKind::kContent, place, "missing or not a list; expected {\"sequences\": [[ids], …]}");
  }
  std::vector<TokenIds> sequences;
  for (const Json& ids : json["sequences"]) {
    sequences.push_back(ParseTokenIds(ids, place.Item(fmt::format("sequence {}", sequences.size()))));
    if (sequences.back().empty()) {
      throw Error(ErrorKind::kContent, place.Item(fmt::format("sequence {}", sequences.size() - 1)),
                  "is empty, expected at least one id");
    }
  }
  if (sequences.empty()) throw Error(ErrorKind::kContent, place, "is empty, expected at least one sequence");
  return sequences;
}

// Tensors of one sequence are known in order, so that the file is written as they come: logits are large.
void RunLogits(const Options& options) {
  const std::vector<TokenIds> sequences = ReadSequences(options.ids);
  const std::unique_ptr<LayerSource> source = OpenModel(options.model);
  const ComputeContext context(options.compute);
  const Decoder decoder(*source, *context.backend, options.memory.Budget());
  const ModelConfig& config = source->config();

  SafetensorsWriter writer(options.out);
  writer.SetMetadata("model", options.model);
  writer.SetMetadata("compute", std::string(Name(context.backend->compute())));
  writer.SetMetadata("isa", context.backend->Isa());
  for (size_t i = 0; i < sequences.size(); ++i) {
    const size_t rows = sequences[i].size();
    if (options.hidden) {
      writer.Declare(fmt::format("{}.embed", i), DType::kF32, {rows, config.hidden_size});
      for (size_t l = 0; l < config.num_hidden_layers; ++l) {
        writer.Declare(fmt::format("{}.layer{}", i, l), DType::kF32, {rows, config.hidden_size});
      }
      writer.Declare(fmt::format("{}.final_norm", i), DType::kF32, {rows, config.hidden_size});
    }
    writer.Declare(fmt::format("{}.logits", i), DType::kF32, {rows, config.vocab_size});
  }
  writer.Begin();
  const std::unique_ptr<Prepared> head = context.backend->Prepare(source->Head());
  const auto write = [&](MatView<const float> m) {
    writer.Write(std::as_bytes(std::span(m.data, m.rows * m.cols)));
  };
  for (const TokenIds& ids : sequences) {
    const Matrix x =
        decoder.Forward(std::span(&ids, 1), [&](std::string_view name, size_t, MatView<const float> rows) {
          if (options.hidden && !name.starts_with("router")) write(rows);
        });
    constexpr size_t kRowsAtOnce = 64;
    Matrix logits(kRowsAtOnce, config.vocab_size);
    for (size_t t = 0; t < x.rows(); t += kRowsAtOnce) {
      const size_t count = std::min(kRowsAtOnce, x.rows() - t);
      context.backend->Gemm(x.view().Rows(t, count), *head, {}, logits.view().Rows(0, count));
      write(logits.view().Rows(0, count));
    }
  }
  source->RequireIntact();
  writer.Commit();
}

}  // namespace

void AddLogitsCommand(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("logits", "write the logits of token sequences, to check the forward pass");
  auto options = std::make_shared<Options>();
  command->add_option("--model", options->model, "checkpoint or artefact folder")->required();
  command->add_option("--ids", options->ids, "JSON file {\"sequences\": [[ids], …]}")->required();
  command->add_option("--out", options->out, "safetensors file to write: 0.logits [tokens, vocabulary], …")
      ->required();
  command->add_flag("--hidden", options->hidden,
                    "also the residual stream: 0.embed, 0.layer3, …, 0.final_norm");
  options->compute.AddTo(*command, "f32");
  options->memory.AddTo(*command);
  command->footer(
      "Example:\n  lowbit logits --model Qwen3-0.6B --ids ids.json --out logits.safetensors --hidden");
  command->callback([options] { RunLogits(*options); });
}

}  // namespace lowbit
