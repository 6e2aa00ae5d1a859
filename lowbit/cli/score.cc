// SPDX-License-Identifier: Apache-2.0
// lowbit score: log-likelihoods of continuations, as lm-evaluation-harness asks a model for them.
#include <iostream>
#include <memory>

#include "lowbit/cli/commands.h"
#include "lowbit/cli/compute_options.h"
#include "lowbit/cli/token_json.h"
#include "lowbit/eval/scorer.h"
#include "lowbit/text/text_file.h"

namespace lowbit {
namespace {

struct Options {
  std::string model, input = "-";
  ComputeOptions compute;
  MemoryOptions memory;
};

const Json& Field(const Json& object, const char* key, const Place& place) {
  if (!object.is_object())
    throw Error(ErrorKind::kContent, place, fmt::format("{}, expected an object", JsonPreview(object)));
  const auto found = object.find(key);
  if (found == object.end()) throw Error(ErrorKind::kContent, place.Key(key), "is missing");
  return *found;
}

ContinuationRequest ParseRequest(const Json& json, const Place& place, size_t default_max_length) {
  ContinuationRequest request;
  request.context = ParseTokenIds(Field(json, "context_ids", place), place.Key("context_ids"));
  const Json& continuations = Field(json, "continuations", place);
  if (!continuations.is_array()) {
    throw Error(ErrorKind::kContent, place.Key("continuations"),
                fmt::format("{}, expected a list of lists", JsonPreview(continuations)));
  }
  for (const Json& ids : continuations)
    request.continuations.push_back(ParseTokenIds(ids, place.Key("continuations")));
  request.max_length = default_max_length;
  if (const auto length = json.find("max_length"); length != json.end()) {
    if (!length->is_number_unsigned() || length->get<uint64_t>() == 0) {
      throw Error(ErrorKind::kContent, place.Key("max_length"),
                  fmt::format("{}, expected a positive integer", JsonPreview(*length)));
    }
    request.max_length = length->get<size_t>();
  }
  return request;
}

void RunScore(const Options& options) {
  const std::unique_ptr<LayerSource> source = OpenModel(options.model);
  std::vector<ContinuationRequest> requests;
  const auto add = [&](size_t line, const Json& json) {
    const Place place = Place(options.input == "-" ? "stdin" : options.input).Line(line);
    requests.push_back(ParseRequest(json, place, source->config().max_position_embeddings));
  };
  if (options.input == "-") {
    ForEachJsonLine(std::cin, "stdin", add);
  } else {
    ForEachJsonLine(options.input, add);
  }
  const ComputeContext context(options.compute);
  const Decoder decoder(*source, *context.backend, options.memory.Budget());
  for (const auto& request : Scorer(decoder).LogLikelihoods(requests)) {
    Json results = Json::array();
    for (const ContinuationScore& score : request) results.push_back({score.log_likelihood, score.is_greedy});
    std::cout << Json{{"results", results}}.dump() << "\n";
  }
}

}  // namespace

void AddScoreCommand(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("score", "log-likelihoods of continuations given contexts, as token ids");
  auto options = std::make_shared<Options>();
  command->add_option("model", options->model, "checkpoint or artefact folder")->required();
  command->add_option("input", options->input, "JSON lines; - is stdin")->capture_default_str();
  options->compute.AddTo(*command, "f32");
  options->memory.AddTo(*command);
  command->footer(
      "Reads  {\"context_ids\": […], \"continuations\": [[…], …], \"max_length\": n}   (max_length: the "
      "model's own when absent)\n"
      "Writes {\"results\": [[log-likelihood, is_greedy], …]}, one line per line; natural logarithm.\n"
      "Example:\n  echo '{\"context_ids\": [9707], \"continuations\": [[11], [0, 1]]}' | lowbit score "
      "Qwen3-0.6B");
  command->callback([options] { RunScore(*options); });
}

}  // namespace lowbit
