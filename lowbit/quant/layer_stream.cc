// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/layer_stream.h"

#include <algorithm>
#include <filesystem>

#include "lowbit/base/build_info.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/log.h"
#include "lowbit/quant/recipe_run.h"
#include "lowbit/quant/sweep.h"
#include "lowbit/text/tokenizer.h"

namespace lowbit {
namespace fs = std::filesystem;

namespace {

void RequireQuantizing(std::span<const QuantizeCell> cells) {
  for (const QuantizeCell& cell : cells) {
    if (!cell.recipe.IsFull()) continue;
    throw Error(ErrorKind::kUsage, "recipe 'full' quantizes nothing, expected one that does, as rtn-w4-g128");
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

// Throws what RecipeRun throws; a scratch folder that is in the way is removed.
std::unique_ptr<RecipeRun> OpenRun(const QuantizeJob& job, const QuantizeCell& cell,
                                   const std::string& weights_hash) {
  const auto open = [&] {
    RequireUsableOutput(cell.out_folder, job.model.checkpoint().folder());
    return std::make_unique<RecipeRun>(job, cell, InputsOf(job, cell.recipe, weights_hash));
  };
  try {
    return open();
  } catch (const Error& e) {
    const bool is_of_folder = e.place().file().starts_with(cell.out_folder);
    const bool is_in_the_way = e.kind() == ErrorKind::kConflict || e.kind() == ErrorKind::kContent;
    if (!cell.is_scratch || !is_of_folder || !is_in_the_way) throw;
    LogDetail(fmt::format("{}; making it anew", e.what()));
  }
  std::error_code code;
  fs::remove_all(cell.out_folder, code);
  if (code) throw WriteError::Of(cell.out_folder, "remove", code.value());
  return open();
}

// The recipes of one call.
class Quantizer {
 public:
  Quantizer(const QuantizeJob& job, std::span<const QuantizeCell> cells)
      : job_(job),
        cells_(cells),
        hash_(job.weights_hash.empty() ? job.model.checkpoint().WeightsHash(job.backend.threads())
                                       : job.weights_hash),
        runs_(cells.size()),
        results_(cells.size()) {}

  // `announces` says what it will take before it begins.
  std::vector<QuantizeResult> Run(bool announces) {
    try {
      for (size_t i = 0; i < cells_.size(); ++i) Open(i);
      const std::vector<size_t> missing = Missing();
      if (!missing.empty() || !job_.statistics.empty()) RunLanes(missing, announces);
    } catch (...) {
      for (const auto& run : runs_) {
        if (run && !run->IsFinished()) run->GiveUp();
      }
      throw;
    }
    return std::move(results_);
  }

 private:
  void Open(size_t i) {
    try {
      runs_[i] = OpenRun(job_, cells_[i], hash_);
      results_[i] = runs_[i]->result();
    } catch (const WriteError&) {
      throw;
    } catch (const std::exception&) {
      results_[i].failure = std::current_exception();
    }
  }

  std::vector<size_t> Missing() const {
    std::vector<size_t> missing;
    for (size_t i = 0; i < runs_.size(); ++i) {
      if (runs_[i] && runs_[i]->IsActive()) missing.push_back(i);
    }
    return missing;
  }

  void RunLanes(std::span<const size_t> missing, bool announces) {
    uint64_t bytes = 0;
    std::vector<Recipe> recipes;
    for (const size_t i : missing) {
      bytes += runs_[i]->MissingBytes();
      recipes.push_back(cells_[i].recipe);
    }
    if (!missing.empty()) RequireDiskSpace(cells_[missing[0]].out_folder, bytes);
    const QuantizePlan plan = PlanQuantize(job_, recipes, announces ? Probe::kYes : Probe::kNo);
    if (announces) LogInfo("plan " + plan.Text());
    for (const QuantizeLane& lane : plan.lanes) {
      std::vector<size_t> of_lane;
      for (const size_t r : lane.recipes) of_lane.push_back(missing[r]);
      RunLane(lane, of_lane);
    }
  }

  // Once more for recipes that lost a file of an earlier run on the way; it was removed, so that this ends.
  void RunLane(const QuantizeLane& lane, std::vector<size_t> of_lane) {
    std::optional<StatisticsFolder> statistics;
    if (lane.saves_statistics) {
      statistics.emplace(job_.statistics, StatisticsOrigin{job_.calibration->hash, hash_, CodeVersion(),
                                                           job_.calibration->Tokens()});
    }
    do {
      std::vector<RecipeRun*> runs;
      for (const size_t i : of_lane) runs.push_back(runs_[i].get());
      Sweep sweep(job_, lane, runs, statistics ? &*statistics : nullptr);
      sweep.Run();
      std::vector<size_t> again;
      for (const size_t i : of_lane) {
        Close(i, sweep);
        if (runs_[i]->StartsOver()) again.push_back(i);
      }
      of_lane.clear();
      for (const size_t i : again) {
        runs_[i].reset();  // and its lock
        Open(i);
        if (runs_[i] && runs_[i]->IsActive()) of_lane.push_back(i);
      }
      statistics.reset();  // they are whole
    } while (!of_lane.empty());
  }

  void Close(size_t i, const Sweep& sweep) {
    const RecipeRun& run = *runs_[i];
    results_[i] = run.result();
    results_[i].failure = run.failure();
    if (run.failure()) results_[i].info.seconds = run.seconds();
    if (!run.LearnsFromFloat() || run.LayersToMake() == 0) return;
    results_[i].shared_seconds = sweep.shared_seconds();
    results_[i].shared_by = sweep.shared_by();
  }

  const QuantizeJob& job_;
  std::span<const QuantizeCell> cells_;
  std::string hash_;
  std::vector<std::unique_ptr<RecipeRun>> runs_;  // nullptr: could not be opened
  std::vector<QuantizeResult> results_;
};

std::vector<QuantizeResult> QuantizeInto(const QuantizeJob& job, std::span<const QuantizeCell> cells,
                                         bool announces, Failures failures) {
  std::vector<Recipe> recipes;
  for (const QuantizeCell& cell : cells) recipes.push_back(cell.recipe);
  PlanQuantize(job, recipes, Probe::kNo);  // refuses before anything is written
  std::vector<QuantizeResult> results = Quantizer(job, cells).Run(announces);
  for (const QuantizeResult& result : results) {
    if (result.failure && failures == Failures::kThrow) std::rethrow_exception(result.failure);
  }
  return results;
}

}  // namespace

std::vector<QuantizeResult> QuantizeModel(const QuantizeJob& job, std::span<const QuantizeCell> cells,
                                          Failures failures) {
  RequireQuantizing(cells);
  return QuantizeInto(job, cells, false, failures);
}

std::vector<QuantizeResult> QuantizeFolder(const std::string& model_folder,
                                           std::span<const QuantizeCell> cells, const Backend& backend,
                                           const CalibrationSpec* calibration, const MemoryBudget& budget,
                                           Failures failures, const std::string& statistics) {
  if (IsArtefact(model_folder)) {
    throw Error(ErrorKind::kUsage, Place(model_folder),
                "is quantized already, expected a Hugging Face checkpoint")
        .Hint(fmt::format("its base is {}", ReadArtefactInfo(model_folder).base_folder));
  }
  const CheckpointSource model(model_folder);
  RequireQuantizing(cells);
  for (const QuantizeCell& cell : cells) RequireUsableOutput(cell.out_folder, model_folder);
  std::optional<CalibrationSet> set;
  if (calibration != nullptr) set = LoadCalibrationSet(*calibration, Tokenizer::Load(model_folder));
  const QuantizeJob job{model, backend, set ? &*set : nullptr, budget, {}, statistics};
  return QuantizeInto(job, cells, true, failures);
}

}  // namespace lowbit
