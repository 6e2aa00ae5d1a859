// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/layer_stream.h"

#include <filesystem>
#include <functional>
#include <future>

#include "lowbit/base/build_info.h"
#include "lowbit/base/files.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/human.h"
#include "lowbit/base/log.h"
#include "lowbit/base/progress.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/quant/model_rounder.h"
#include "lowbit/quant/output_folder.h"

namespace lowbit {
namespace fs = std::filesystem;

namespace {

void RequireDiskSpace(const std::string& folder, const std::vector<PlannedFile>& files) {
  uint64_t needed = 0;
  for (const PlannedFile& file : files) needed += file.Bytes();
  std::error_code code;
  const fs::space_info space = fs::space(folder, code);
  if (code || space.available >= needed) return;
  throw WriteError(folder, fmt::format("{} free on this disk, expected at least {}",
                                       HumanBytes(space.available), HumanBytes(needed)));
}

// Makes, or keeps, one file after the other, then writes the manifest.
QuantizeResult RoundAndWrite(const CheckpointSource& model, const Recipe& recipe,
                             const ArtefactInputs& inputs, OutputFolder& out, const Threads& threads) {
  const Stopwatch watch;
  ModelRounder rounder(model, recipe, threads);
  RequireDiskSpace(out.path(), rounder.files());
  out.Begin();

  QuantizeResult result;
  ArtefactInfo& info = result.info;
  Progress progress("quantizing", rounder.files().size());
  // A file is written while the next one is rounded. One at a time, so that they appear in order.
  std::future<ArtefactFile> writing;
  std::string written;
  const auto finish_writing = [&] {
    if (writing.valid()) info.files[written] = writing.get();
  };
  for (size_t i = 0; i < rounder.files().size(); ++i) {
    const PlannedFile& file = rounder.files()[i];
    PackedTensors kept = out.Kept(file.name).value_or(PackedTensors{});
    const bool keeps = file.Describes(kept);
    if (!keeps) kept.clear();
    PackedTensors packed = rounder.Round(i, std::move(kept));
    model.checkpoint().RequireIntact();  // before a file says what its weights were
    finish_writing();
    written = file.name;
    writing = std::async(std::launch::async, [&out, name = file.name, keeps, tensors = std::move(packed)] {
      return keeps ? out.Describe(name, tensors) : out.Write(name, tensors);
    });
    result.kept_files += keeps ? 1 : 0;
    progress.Step(file.name);
  }

  finish_writing();

  info.base_folder = model.checkpoint().folder();
  info.base_bytes = model.checkpoint().TensorBytes();
  info.weights_hash = inputs.weights_hash;
  info.config_hash = inputs.config_hash;
  info.recipe = inputs.recipe;
  info.code_version = inputs.code_version;
  info.layers = model.layout().layers.size();
  info.has_head = recipe.head.has_value();
  rounder.Describe(info);
  info.seconds = watch.Seconds();
  out.Finish(info);
  return result;
}

}  // namespace

std::string QuantizePlan::Text() const {
  return fmt::format("quantize: about {}, reads {} and writes {}; memory {}", HumanSeconds(seconds),
                     HumanBytes(bytes_read), HumanBytes(bytes_written), HumanBytes(peak_bytes));
}

QuantizePlan PlanQuantize(const CheckpointSource& model, const Recipe& recipe, const Threads& threads,
                          const MemoryBudget& budget) {
  QuantizePlan plan;
  for (const PlannedFile& file : PlanFiles(model, recipe)) plan.bytes_written += file.Bytes();
  plan.bytes_read = model.checkpoint().TensorBytes();
  plan.peak_bytes = ResidentMemoryBytes() + ModelRounder::PeakBytes(model, recipe);
  if (!budget.least && plan.peak_bytes > budget.Bytes()) {
    throw Error(ErrorKind::kResource,
                fmt::format("{} of memory {}, expected at least {} to quantize {}",
                            HumanBytes(budget.Bytes()), budget.bytes > 0 ? "allowed by --ram" : "to be had",
                            HumanBytes(plan.peak_bytes), model.checkpoint().folder()));
  }
  plan.seconds = ModelRounder(model, recipe, threads).ProbeSeconds();
  return plan;
}

namespace {

// `before_work` is called once nothing stands in the way any more.
QuantizeResult QuantizeInto(const CheckpointSource& model, const Recipe& recipe,
                            const std::string& out_folder, const Threads& threads,
                            const std::string& weights_hash, const std::function<void()>& before_work) {
  const std::string& model_folder = model.checkpoint().folder();
  const ArtefactInputs inputs{
      .weights_hash = weights_hash.empty() ? model.checkpoint().WeightsHash(threads) : weights_hash,
      .config_hash = Sha256OfFile((fs::path(model_folder) / "config.json").string()),
      .recipe = recipe.Text(),
      .code_version = CodeVersion()};
  OutputFolder out(out_folder, inputs);
  std::optional<ArtefactInfo> finished = out.Finished();
  if (!finished) {
    try {
      before_work();
      return RoundAndWrite(model, recipe, inputs, out, threads);
    } catch (...) {
      out.GiveUp();
      throw;
    }
  }
  finished->base_folder = model_folder;  // it may have moved since
  out.Finish(*finished);
  return {*finished, finished->files.size()};
}

void RequireWork(const Recipe& recipe, const std::string& out_folder, const std::string& model_folder) {
  if (recipe.IsFull()) {
    throw Error(ErrorKind::kUsage, "recipe 'full' quantizes nothing, expected one that does, as rtn-w4-g128");
  }
  RequireUsableOutput(out_folder, model_folder);
}

}  // namespace

QuantizeResult QuantizeModel(const CheckpointSource& model, const Recipe& recipe,
                             const std::string& out_folder, const Threads& threads,
                             const std::string& weights_hash) {
  RequireWork(recipe, out_folder, model.checkpoint().folder());
  return QuantizeInto(model, recipe, out_folder, threads, weights_hash, [] {});
}

QuantizeResult QuantizeModel(const std::string& model_folder, const Recipe& recipe,
                             const std::string& out_folder, const Threads& threads,
                             const MemoryBudget& budget) {
  if (IsArtefact(model_folder)) {
    throw Error(ErrorKind::kUsage, Place(model_folder),
                "is quantized already, expected a Hugging Face checkpoint")
        .Hint(fmt::format("its base is {}", ReadArtefactInfo(model_folder).base_folder));
  }
  const CheckpointSource model(model_folder);
  RequireWork(recipe, out_folder, model_folder);
  const QuantizePlan plan = PlanQuantize(model, recipe, threads, budget);
  return QuantizeInto(model, recipe, out_folder, threads, "", [&] { LogInfo("plan " + plan.Text()); });
}

}  // namespace lowbit
