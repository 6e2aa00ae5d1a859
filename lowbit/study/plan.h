// SPDX-License-Identifier: Apache-2.0
// Which cells a study has, and which of them are missing.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowbit/calib/calibration_set.h"
#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/model/layer_source.h"
#include "lowbit/quant/layer_stream.h"
#include "lowbit/study/results_db.h"
#include "lowbit/study/study_file.h"
#include "lowbit/text/tokenizer.h"

namespace lowbit {

// A model of the study, opened, checked and hashed.
struct PlannedModel {
  StudyModel model;
  std::unique_ptr<CheckpointSource> source;
  std::unique_ptr<Tokenizer> tokenizer;
  std::string weights_hash, config_hash, tokenizer_hash;
  std::optional<CalibrationSet> calibration;  // in its tokens, where the study has one and something is quantized

  const CalibrationSet* CalibrationOrNull() const { return calibration ? &*calibration : nullptr; }
};

enum class CellState : uint8_t { kDone, kFailed, kMissing };  // in results.db, before the run

struct PlannedCell {
  size_t model = 0, recipe = 0, task = 0;  // indices into the plan
  std::string key;                         // SHA-256 of everything that decides the numbers
  CellState state = CellState::kMissing;
};

struct StudyPlan {
  StudyFile study;
  std::vector<PlannedModel> models;
  std::vector<std::unique_ptr<Task>> tasks;
  std::vector<PlannedCell> cells;  // model-major, then recipe, then task
  size_t rows_of_other_code = 0;   // done cells that another version of lowbit made
  MemoryBudget budget;

  size_t CountOf(CellState state) const;
  // Whether the cell's model is compared with full precision.
  bool IsCompared(size_t recipe, size_t task) const;
};

// Opens and checks every model and every text and hashes them: whatever can be refused is refused here,
// before any work and before anything is written. All cells are missing.
StudyPlan MakePlan(const StudyFile& study, const Threads& threads, const MemoryBudget& budget = {});

// How the recipes of one model are quantized that have missing or failed cells.
struct PlannedSweeps {
  size_t model = 0;
  std::vector<size_t> recipes;  // of the study, ascending, without "full"
  QuantizePlan quantize;        // its lanes' recipes are places in `recipes`

  std::vector<size_t> LaneOf(size_t recipe) const;  // of the study, with those that share its sweep
};
// One for each model that has such a recipe. Several sweeps where memory, or the disk of `folder` for what is dropped
// after use, does not hold all. Throws Error{kResource} when memory is too small for a recipe alone.
std::vector<PlannedSweeps> PlanSweeps(const StudyPlan& plan, const std::string& folder,
                                      const Backend& backend, Probe probe);

// Missing and failed cells in the order in which they run: model by model, those of full precision first or where
// the study has them, then sweep by sweep, so that the artefacts of one can go before the next begins.
std::vector<const PlannedCell*> CellsToRun(const StudyPlan& plan, const std::vector<PlannedSweeps>& sweeps);

// What measuring the missing and failed cells of one model and task takes: forward passes, by probe.
struct CellCosts {
  size_t model = 0, task = 0;
  size_t cells = 0;
  uint64_t peak_bytes = 0;
  double seconds = 0;
};
// Throws Error{kResource} when the budget is too small for a cell.
std::vector<CellCosts> EstimateCosts(const StudyPlan& plan, const Backend& backend);

// Looks the cells up. Throws Error{kConflict} when results.db holds a row of the same model, recipe and task
// that was made from other inputs, naming what differs.
void MarkKnownCells(StudyPlan& plan, const ResultsDb& results);

}  // namespace lowbit
