// SPDX-License-Identifier: Apache-2.0
// lowbit quantize: rounds a checkpoint into an artefact.
#include <fmt/format.h>

#include <memory>
#include <optional>

#include "lowbit/base/human.h"
#include "lowbit/base/json.h"
#include "lowbit/base/log.h"
#include "lowbit/base/memory.h"
#include "lowbit/base/progress.h"
#include "lowbit/cli/calibration_options.h"
#include "lowbit/cli/commands.h"
#include "lowbit/cli/compute_options.h"
#include "lowbit/quant/layer_stream.h"
#include "lowbit/quant/method.h"

namespace lowbit {
namespace {

struct Options {
  std::string model, recipe, out;
  CalibrationOptions calibration_flags;
  std::optional<CalibrationSpec> calibration;  // what they ask for
  MemoryOptions memory;
  int threads = 0;
  bool json = false;
};

Json ToJson(const Options& options, const QuantizeResult& result) {
  const ArtefactInfo& info = result.info;
  return {{"model", options.model},
          {"recipe", info.recipe},
          {"artefact", options.out},
          {"quantized_weights", info.quantized_weights},
          {"bits_per_quantized_weight", info.BitsPerQuantizedWeight()},
          {"model_weights", info.model_weights},
          {"bits_per_model_weight", info.BitsPerModelWeight()},
          {"model_bytes", (info.model_bits + 7) / 8},
          {"base_bytes", info.base_bytes},
          {"file_bytes", info.FileBytes()},
          {"relative_error", info.relative_error},
          {"files", info.files.size()},
          {"kept_files", result.kept_files},
          {"peak_bytes", PeakMemoryBytes()},
          {"seconds", info.seconds}};
}

void Print(const Options& options, const QuantizeResult& result) {
  const ArtefactInfo& info = result.info;
  fmt::print("{} of {}\n", info.recipe, options.model);
  fmt::print("  quantized    {} weights at {:.3f} bits each, scales and zero points counted\n",
             HumanCount(info.quantized_weights), info.BitsPerQuantizedWeight());
  fmt::print("  whole model  {} weights at {:.3f} bits each: {}, was {}\n", HumanCount(info.model_weights),
             info.BitsPerModelWeight(), HumanBytes((info.model_bits + 7) / 8), HumanBytes(info.base_bytes));
  fmt::print("  error        {:.4g} of the weights' norm\n", info.relative_error);
  fmt::print("  written      {} in {} to {}\n", HumanBytes(info.FileBytes()), HumanSeconds(info.seconds),
             options.out);
  if (result.kept_files > 0) {
    fmt::print("  kept         {} of {} files, from an earlier run with the same inputs\n", result.kept_files,
               info.files.size());
  }
  LogDetail(fmt::format("most memory held: {}", HumanBytes(PeakMemoryBytes())));
  LogInfo(fmt::format("next: lowbit eval {} --tasks wikitext2", options.out));
}

// A text that nothing learns from would change nothing, and nobody would notice.
void RequireUseOfCalibration(const Options& options, const Recipe& recipe) {
  const Method* method = FindMethod(recipe.method);
  if (!options.calibration.has_value() || (method != nullptr && method->Info().needs_calibration)) return;
  throw Error(ErrorKind::kUsage,
              fmt::format("'{}' learns from no text, expected no --calib with it", recipe.method));
}

void RunQuantize(Options& options) {
  const Recipe recipe = ParseRecipe(options.recipe);
  options.calibration = options.calibration_flags.Spec();
  RequireUseOfCalibration(options, recipe);
  if (options.json) Progress::SetEnabled(false);
  const QuantizeResult result =
      QuantizeModel(options.model, recipe, options.out, Threads(options.threads), options.memory.Budget());
  if (options.json) {
    fmt::print("{}\n", ToJson(options, result).dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    Print(options, result);
  }
}

std::string Footer() {
  std::string text =
      "Recipes: METHOD-wBITS-gGROUP or METHOD-wBITS-channel, then -sym, then :option=value,...\nMethods:";
  for (const Method* method : Methods()) {
    const MethodInfo info = method->Info();
    text += fmt::format("\n  {:<12} {} to {} bits: {}", info.name, info.min_bits, info.max_bits,
                        info.description);
  }
  return text +
         "\nOptions:\n"
         "  head=keep|w8-g64|…    embedding and lm_head; kept as they are by default\n"
         "  scale=f16|f32         type of the scales\n"
         "  grid=gptq|awq|absmax|rot|full, range=minmax|mse    how levels follow from weights\n"
         "Examples:\n"
         "  lowbit quantize Qwen3-0.6B rtn-w4-g128 -o q4\n"
         "  lowbit quantize Qwen3-0.6B rtn-w3-g64-sym:head=w8-g64 -o q3\n"
         "A run that was stopped goes on where it was when the same command is given again.";
}

}  // namespace

void AddQuantizeCommand(CLI::App& app) {
  CLI::App* command = app.add_subcommand("quantize", "round a checkpoint to few bits, into an artefact");
  auto options = std::make_shared<Options>();
  command->add_option("model", options->model, "folder of a Hugging Face checkpoint")->required();
  command->add_option("recipe", options->recipe, "what to do, see below")->required();
  command->add_option("-o,--output", options->out, "folder for the artefact")->required();
  command
      ->add_option("-t,--threads", options->threads,
                   "threads (default: $OMP_NUM_THREADS, else all cores); never changes a result")
      ->check(CLI::Range(1, 1024));
  options->calibration_flags.AddTo(*command);
  options->memory.AddTo(*command);
  command->add_flag("--json", options->json, "machine-readable output on stdout");
  command->footer(Footer());
  command->callback([options] { RunQuantize(*options); });
}

}  // namespace lowbit
