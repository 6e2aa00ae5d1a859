// SPDX-License-Identifier: Apache-2.0
// The driver: runs recipes over a model, one layer at a time, and writes an artefact for each. Layer-major,
// recipe-minor: a layer's weights and what the full-precision model makes of the calibration tokens are read and
// computed once for all recipes.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "lowbit/base/memory.h"
#include "lowbit/calib/calibration_set.h"
#include "lowbit/checkpoint/artefact.h"
#include "lowbit/kernels/backend.h"
#include "lowbit/model/layer_source.h"
#include "lowbit/quant/spec.h"

namespace lowbit {

// What to do with which data. All it refers to must outlive the job.
struct QuantizeJob {
  const CheckpointSource& model;
  const Backend& backend;
  const CalibrationSet* calibration = nullptr;  // may be null where no recipe needs one
  MemoryBudget budget = {};
  std::string weights_hash = {};  // model.checkpoint().WeightsHash(threads); computed when empty
};

struct QuantizeCell {
  Recipe recipe;
  std::string out_folder;
};

// What quantizing will take.
struct QuantizePlan {
  uint64_t peak_bytes = 0;  // of this process, all told
  uint64_t bytes_read = 0, bytes_written = 0;
  double seconds = 0;         // from a short probe
  bool scratch_file = false;  // calibration rows are in a file
  size_t own_streams = 0;     // recipes whose calibration rows pass through their own quantized layers
  bool float_stream = false;  // the full-precision model's pass, shared by the recipes that learn from it

  std::string Text() const;  // one line
};

// Without a probe `seconds` is 0. Throws Error{kUsage} when a recipe needs calibration and there is none,
// Error{kResource} saying how much is needed when the budget is too small.
enum class Probe : uint8_t { kNo, kYes };
QuantizePlan PlanQuantize(const QuantizeJob& job, std::span<const Recipe> recipes, Probe probe = Probe::kYes);

struct QuantizeResult {
  ArtefactInfo info;
  size_t kept_files = 0;  // good files of an earlier run that were not made again
};

// Rounds a checkpoint into one artefact per cell, in folders that are made if need be. Layers are written one by
// one; a run that was stopped goes on with the next one and ends with the same bytes, and so does any number
// of threads and of other cells. Where a folder already holds this very artefact, its files are checked and kept.
//
// Throws Error{kUsage} for the recipe "full" and for calibration that is missing, Error{kConflict} when a folder
// is the model's folder, holds other things or was made from other inputs, Error{kNumeric} for NaN or infinite
// weights and scales that do not fit, Error{kResource} when the disk or the memory is too small.
std::vector<QuantizeResult> QuantizeModel(const QuantizeJob& job, std::span<const QuantizeCell> cells);

// The same for a folder; says what it will take before it begins. Throws also Error{kUsage} for one that is
// quantized already, and what opening a checkpoint and loading a calibration set throws.
std::vector<QuantizeResult> QuantizeFolder(const std::string& model_folder,
                                           std::span<const QuantizeCell> cells, const Backend& backend,
                                           const CalibrationSpec* calibration = nullptr,
                                           const MemoryBudget& budget = {});

}  // namespace lowbit
