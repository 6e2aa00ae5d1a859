// SPDX-License-Identifier: Apache-2.0
// lowbit quantize: rounds a checkpoint into an artefact.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <optional>

#include "lowbit/base/human.h"
#include "lowbit/base/json.h"
#include "lowbit/base/log.h"
#include "lowbit/base/memory.h"
#include "lowbit/base/progress.h"
#include "lowbit/calib/statistics_file.h"
#include "lowbit/cli/calibration_options.h"
#include "lowbit/cli/commands.h"
#include "lowbit/cli/compute_options.h"
#include "lowbit/quant/layer_stream.h"
#include "lowbit/quant/method.h"

namespace lowbit {
namespace {

struct Options {
  std::string model, out;
  std::vector<std::string> recipes;
  CalibrationOptions calibration;
  ComputeOptions compute;
  MemoryOptions memory;
  std::string statistics;
  bool json = false;

  // Of one recipe the folder itself, of several a folder in it.
  std::string FolderOf(const Recipe& recipe) const {
    return recipes.size() == 1 ? out : (std::filesystem::path(out) / recipe.Text()).string();
  }
};

Json ToJson(const Options& options, const QuantizeCell& cell, const QuantizeResult& result) {
  const ArtefactInfo& info = result.info;
  return {{"model", options.model},
          {"recipe", info.recipe},
          {"artefact", cell.out_folder},
          {"quantized_weights", info.quantized_weights},
          {"bits_per_quantized_weight", info.BitsPerQuantizedWeight()},
          {"code_bits_per_weight", info.code_bits > 0 ? Json(info.CodeBitsPerWeight()) : Json()},
          {"model_weights", info.model_weights},
          {"bits_per_model_weight", info.BitsPerModelWeight()},
          {"model_bytes", (info.model_bits + 7) / 8},
          {"base_bytes", info.base_bytes},
          {"file_bytes", info.FileBytes()},
          {"relative_error", info.relative_error},
          {"files", info.files.size()},
          {"kept_files", result.kept_files},
          {"peak_bytes", PeakMemoryBytes()},
          {"notes", info.notes},
          {"seconds", info.seconds},
          {"shared_seconds", result.shared_by > 0 ? Json(result.shared_seconds) : Json()},
          {"shared_by", result.shared_by}};
}

std::string WhatOf(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& e) {
    return e.what();
  }
}

void Print(const Options& options, const QuantizeCell& cell, const QuantizeResult& result) {
  const ArtefactInfo& info = result.info;
  fmt::print("{} of {}\n", info.recipe, options.model);
  fmt::print("  quantized    {} weights at {:.3f} bits each, scales and zero points counted\n",
             HumanCount(info.quantized_weights), info.BitsPerQuantizedWeight());
  if (info.code_bits > 0) {
    fmt::print("  planes       {:.3f} bits of code each, as papers count\n", info.CodeBitsPerWeight());
  }
  fmt::print("  whole model  {} weights at {:.3f} bits each: {}, was {}\n", HumanCount(info.model_weights),
             info.BitsPerModelWeight(), HumanBytes((info.model_bits + 7) / 8), HumanBytes(info.base_bytes));
  fmt::print("  error        {:.4g} of the weights' norm\n", info.relative_error);
  fmt::print("  written      {} in {} to {}\n", HumanBytes(info.FileBytes()), HumanSeconds(info.seconds),
             cell.out_folder);
  if (result.shared_by > 0) {
    fmt::print("  shared       {} of the full-precision model's pass, by {} recipe{}\n",
               HumanSeconds(result.shared_seconds), result.shared_by, result.shared_by == 1 ? "" : "s");
  }
  if (result.kept_files > 0) {
    fmt::print("  kept         {} of {} files, from an earlier run with the same inputs\n", result.kept_files,
               info.files.size());
  }
  for (const std::string& note : info.notes) fmt::print("  note         {}\n", note);
}

// One recipe's failure is the command's; of several, the others are there all the same.
bool IsPartial(std::span<const QuantizeResult> results) {
  const auto failed =
      std::ranges::count_if(results, [](const QuantizeResult& r) { return r.failure != nullptr; });
  if (failed == std::ssize(results)) std::rethrow_exception(results[0].failure);
  return failed > 0;
}

int RunQuantize(const Options& options) {
  std::vector<QuantizeCell> cells;
  for (const std::string& text : options.recipes) {
    const Recipe recipe = ParseRecipe(text);
    for (const QuantizeCell& other : cells) {
      if (other.recipe == recipe)
        throw Error(ErrorKind::kUsage, fmt::format("recipe '{}' is there twice", recipe.Text()));
    }
    cells.push_back({recipe, options.FolderOf(recipe)});
  }
  const std::optional<CalibrationSpec> calibration = options.calibration.Spec();
  if (options.json) Progress::SetEnabled(false);
  const ComputeContext context(options.compute);
  const std::vector<QuantizeResult> results =
      QuantizeFolder(options.model, cells, *context.backend, calibration ? &*calibration : nullptr,
                     options.memory.Budget(), Failures::kReturn);
  const bool is_partial = IsPartial(results);
  Json all = Json::array();
  for (size_t i = 0; i < cells.size(); ++i) {
    if (results[i].failure) {
      const std::string what = WhatOf(results[i].failure);
      LogWarning(fmt::format("{} failed: {}", cells[i].recipe.Text(), what));
      if (options.json) all.push_back({{"recipe", cells[i].recipe.Text()}, {"error", what}});
    } else if (options.json) {
      all.push_back(ToJson(options, cells[i], results[i]));
    } else {
      Print(options, cells[i], results[i]);
    }
  }
  if (options.json) {
    fmt::print("{}\n", (all.size() == 1 ? all[0] : all).dump(2, ' ', false, Json::error_handler_t::replace));
  } else {
    if (!options.statistics.empty()) {
      LogInfo(fmt::format("statistics: lowbit inspect {}/{}", options.statistics, StatisticsFileName(0)));
    }
    LogDetail(fmt::format("most memory held: {}", HumanBytes(PeakMemoryBytes())));
    const auto made = std::ranges::find(results, nullptr, &QuantizeResult::failure) - results.begin();
    LogInfo(
        fmt::format("next: lowbit eval {} --tasks wikitext2", cells[static_cast<size_t>(made)].out_folder));
  }
  return is_partial ? kExitPartial : 0;
}

std::string Footer() {
  std::string text =
      "Recipes: METHOD-wBITS-gGROUP or METHOD-wBITS-channel, then -sym, then :option=value,...; wBITSaBITS "
      "also\n"
      "rounds what linears read to integers; smoothquant-w8a8, and billm, which names no bits; awq+gptq-…,\n"
      "smoothquant+gptq-…\nMethods:";
  for (const Method* method : Methods()) {
    const MethodInfo info = method->Info();
    const std::string bits =
        info.has_planes ? "about 1 bit" : fmt::format("{} to {} bits", info.min_bits, info.max_bits);
    text += fmt::format("\n  {:<12} {}: {}", info.name, bits, info.description);
  }
  return text +
         "\nOptions:\n"
         "  head=keep|w8-g64|…    embedding and lm_head; kept as they are by default\n"
         "  scale=f16|f32         type of the scales\n"
         "  grid=gptq|awq|absmax|rot|full, range=minmax|mse|hdiag    how levels follow from weights; hdiag\n"
         "                        weighs errors by how large each input is and needs --calib\n"
         "  activations=token|tensor    scales of rounded inputs: each token's own, or one from --calib\n"
         "  transform=none|hadamard     weights and what they read are rotated first\n"
         "  alpha=0.5, smooth=norms|attn_in|mlp_in|down|all|off    of smoothquant\n"
         "  act_order=, static_groups=, fresh_range=true|false, damp=0.01, sink_weight=256\n"
         "                        of gptq (docs/methods.md)\n"
         "  exact=true|false, block=128, damp=0.01    of billm, and of the others only head and scale\n"
         "  layers.0-3=w8-g64, tensor.down_proj=keep, layers.0-3.mlp=w8-channel    exceptions for layers, "
         "for\n"
         "                        linears by parts of their names, or both; the narrowest decides\n"
         "Presets, defaults of options as in the study's published code (docs/recipes.md):\n"
         "  rtn@study-w4-channel  scale=f32; no groups, which that code ignores\n"
         "  gptq@study-w4-g128    act_order=true; fresh_range=false unless groups are multiples of 128\n"
         "  awq@study-w4-g128     scale=f32\n"
         "  smoothquant@study-w8a8    smooth=off, scale=f32: the published driver never smooths\n"
         "  They do not set: bf16 arithmetic of RTN and AWQ (ours is f32); texts, all of C4: 128 windows of\n"
         "  2048 tokens for GPTQ, blocks of 512 made of short texts for AWQ\n"
         "Examples:\n"
         "  lowbit quantize Qwen3-0.6B rtn-w4-g128 -o q4\n"
         "  lowbit quantize Qwen3-0.6B rtn-w3-g64-sym:head=w8-g64 -o q3\n"
         "  lowbit quantize Qwen3-0.6B rtn-w3-g64:layers.0-3=w8-g64,tensor.down_proj=w4-g64 -o mixed\n"
         "  lowbit quantize Qwen3-0.6B gptq-w4-g128 gptq-w3-g128:act_order=true --calib c4 -o sweep\n"
         "Exit code 9: finished, but some of several recipes failed.\n"
         "A run that was stopped goes on where it was when the same command is given again.";
}

}  // namespace

void AddQuantizeCommand(CLI::App& app, int& exit_code) {
  CLI::App* command = app.add_subcommand("quantize", "round a checkpoint to few bits, into an artefact");
  auto options = std::make_shared<Options>();
  command->add_option("model", options->model, "folder of a Hugging Face checkpoint")->required();
  command->add_option("recipes", options->recipes, "what to do, see below; several share one pass")
      ->required();
  command
      ->add_option("-o,--output", options->out,
                   "folder for the artefact; of several recipes, of their folders")
      ->required();
  options->compute.AddTo(*command, "f32");
  options->calibration.AddTo(*command);
  command->add_option("--save-statistics", options->statistics,
                      "folder for what the full-precision model's linears see of --calib, a file per layer");
  options->memory.AddTo(*command);
  command->add_flag("--json", options->json, "machine-readable output on stdout");
  command->footer(Footer());
  command->callback([options, &exit_code] { exit_code = RunQuantize(*options); });
}

}  // namespace lowbit
