// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/layer_stream.h"

#include <algorithm>
#include <filesystem>

#include "lowbit/base/build_info.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/human.h"
#include "lowbit/base/log.h"
#include "lowbit/base/progress.h"
#include "lowbit/quant/quantize_plan.h"
#include "lowbit/quant/recipe_run.h"
#include "lowbit/text/tokenizer.h"

namespace lowbit {
namespace fs = std::filesystem;

namespace {

using Runs = std::vector<std::unique_ptr<RecipeRun>>;

void RequireWork(std::span<const QuantizeCell> cells, const std::string& model_folder) {
  for (const QuantizeCell& cell : cells) {
    if (cell.recipe.IsFull()) {
      throw Error(ErrorKind::kUsage,
                  "recipe 'full' quantizes nothing, expected one that does, as rtn-w4-g128");
    }
    RequireUsableOutput(cell.out_folder, model_folder);
  }
}

ArtefactInputs InputsOf(const QuantizeJob& job, const Recipe& recipe, const std::string& weights_hash) {
  const fs::path folder = job.model.checkpoint().folder();
  ArtefactInputs inputs{.weights_hash = weights_hash,
                        .config_hash = Sha256OfFile((folder / "config.json").string()),
                        .recipe = recipe.Text(),
                        .code_version = CodeVersion(),
                        .calibration = {}};
  if (recipe.NeedsCalibration()) {
    inputs.calibration = fmt::format("{} compute={}", job.calibration->Key(), Name(job.backend.compute()));
  }
  return inputs;
}

// All layers of all runs that are not finished.
class Sweep {
 public:
  Sweep(const QuantizeJob& job, const QuantizePlan& plan, Runs& runs) : job_(job), plan_(plan), runs_(runs) {}

  void Run() {
    for (RecipeRun* run : Unfinished()) run->Begin();
    OpenStreams();
    const size_t layers = job_.model.layout().layers.size();
    Progress progress("quantizing", layers);
    for (size_t layer = 0; layer < layers; ++layer) {
      DoLayer(layer);
      progress.Step(fmt::format("layer {}", layer));
    }
    for (RecipeRun* run : Unfinished()) run->DoHead();
  }

 private:
  std::vector<RecipeRun*> Unfinished() const {
    std::vector<RecipeRun*> unfinished;
    for (const auto& run : runs_) {
      if (!run->IsFinished()) unfinished.push_back(run.get());
    }
    return unfinished;
  }

  std::unique_ptr<CalibrationStream> NewStream() const {
    const std::string folder = plan_.scratch_file ? job_.budget.ScratchFolder() : std::string();
    return std::make_unique<CalibrationStream>(job_.model, *job_.calibration, job_.backend,
                                               ActivationsPlace{folder});
  }

  void OpenStreams() {
    const bool measures = job_.calibration != nullptr && !job_.calibration->held_out.empty();
    for (RecipeRun* run : Unfinished()) {
      if (run->LayersToMake() == 0) continue;
      if (measures && !held_out_)
        held_out_ = std::make_unique<HeldOutStream>(job_.model, *job_.calibration, job_.backend);
      if (run->HasOwnStream()) run->Follow(NewStream());
      if (!run->LearnsFromFloat()) continue;
      float_layers_ = std::max(float_layers_, run->LayersToMake());
      if (!float_) float_ = NewStream();
    }
  }

  void DoLayer(size_t layer) {
    const std::vector<RecipeRun*> runs = Unfinished();
    const auto any = [&](const auto& predicate) { return std::ranges::any_of(runs, predicate); };
    const bool calibrates = any([&](const RecipeRun* run) {
      return (run->HasOwnStream() || run->LearnsFromFloat()) && layer < run->LayersToMake();
    });
    const bool measures = held_out_ && any([&](const RecipeRun* run) { return layer < run->LayersToMake(); });
    const LayerWeights weights = calibrates || measures ? job_.model.Layer(layer) : LayerWeights();
    LayerRecord record;
    if (measures) held_out_->Advance(layer, weights);
    if (float_ && layer < float_layers_) {
      RecordNeeds needs;
      for (const RecipeRun* run : runs) needs += run->Needs(layer);
      record = float_->Record(layer, weights, needs);
    }
    for (RecipeRun* run : runs) {
      if (layer == run->LayersToMake()) run->Follow(nullptr);  // nothing behind this is to be made
      run->DoLayer(layer, weights, record, float_.get(), held_out_.get());
    }
    job_.model.Release(layer);
    if (layer + 1 < job_.model.layout().layers.size()) job_.model.Prefetch(layer + 1);
  }

  const QuantizeJob& job_;
  const QuantizePlan& plan_;
  Runs& runs_;
  std::unique_ptr<HeldOutStream> held_out_;
  std::unique_ptr<CalibrationStream> float_;
  size_t float_layers_ = 0;
};

// `announces` says what it will take before it begins.
std::vector<QuantizeResult> QuantizeInto(const QuantizeJob& job, std::span<const QuantizeCell> cells,
                                         bool announces) {
  std::vector<Recipe> recipes;
  for (const QuantizeCell& cell : cells) recipes.push_back(cell.recipe);
  const QuantizePlan plan = PlanQuantize(job, recipes, Probe::kNo);
  const std::string hash =
      job.weights_hash.empty() ? job.model.checkpoint().WeightsHash(job.backend.threads()) : job.weights_hash;
  Runs runs;
  std::vector<QuantizeResult> results;
  try {
    for (const QuantizeCell& cell : cells) {
      runs.push_back(std::make_unique<RecipeRun>(job, cell, InputsOf(job, cell.recipe, hash)));
    }
    if (!std::ranges::all_of(runs, [](const auto& run) { return run->IsFinished(); })) {
      if (announces) LogInfo("plan " + PlanQuantize(job, recipes).Text());
      Sweep(job, plan, runs).Run();
    }
    for (const auto& run : runs) results.push_back(run->Finish());
  } catch (...) {
    for (const auto& run : runs) {
      if (!run->IsFinished()) run->GiveUp();
    }
    throw;
  }
  return results;
}

}  // namespace

std::vector<QuantizeResult> QuantizeModel(const QuantizeJob& job, std::span<const QuantizeCell> cells) {
  RequireWork(cells, job.model.checkpoint().folder());
  return QuantizeInto(job, cells, false);
}

std::vector<QuantizeResult> QuantizeFolder(const std::string& model_folder,
                                           std::span<const QuantizeCell> cells, const Backend& backend,
                                           const CalibrationSpec* calibration, const MemoryBudget& budget) {
  if (IsArtefact(model_folder)) {
    throw Error(ErrorKind::kUsage, Place(model_folder),
                "is quantized already, expected a Hugging Face checkpoint")
        .Hint(fmt::format("its base is {}", ReadArtefactInfo(model_folder).base_folder));
  }
  const CheckpointSource model(model_folder);
  RequireWork(cells, model_folder);
  std::optional<CalibrationSet> set;
  if (calibration != nullptr) set = LoadCalibrationSet(*calibration, Tokenizer::Load(model_folder));
  const QuantizeJob job{model, backend, set ? &*set : nullptr, budget};
  return QuantizeInto(job, cells, true);
}

}  // namespace lowbit
