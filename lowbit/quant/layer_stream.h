// SPDX-License-Identifier: Apache-2.0
// The driver: runs recipes over a model, one layer at a time, and writes an artefact for each. Layer-major,
// recipe-minor: a layer's weights and what the full-precision model makes of the calibration tokens are read and
// computed once for all recipes.
#pragma once

#include <exception>
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
  // Folder for what the full-precision model's linears saw of the calibration tokens, a file per layer; empty: none.
  std::string statistics = {};
};

struct QuantizeCell {
  Recipe recipe;
  std::string out_folder;
  bool is_scratch = false;  // what the folder holds of other inputs, or damaged, may be removed
};

// Recipes that go through the layers together.
struct QuantizeLane {
  std::vector<size_t> recipes;  // their places among those that were planned, ascending
  uint64_t peak_bytes = 0;      // of this process, all told
  uint64_t bytes_written = 0;
  double seconds = 0;             // from a short probe
  bool scratch_file = false;      // calibration rows are in a file
  size_t own_streams = 0;         // recipes whose calibration rows pass through their own quantized layers
  bool float_stream = false;      // the full-precision model's pass, shared by the recipes that learn from it
  bool saves_statistics = false;  // of that pass, all of them
};

// What quantizing will take: lanes, one after the other.
struct QuantizePlan {
  std::vector<QuantizeLane> lanes;
  uint64_t bytes_read = 0;
  double hash_seconds = 0;  // of the weights, before the first lane

  uint64_t PeakBytes() const;  // of the largest lane
  uint64_t BytesWritten() const;
  double Seconds() const;
  std::string Text() const;  // one line
};

// Bytes of the artefact that a recipe makes of a model.
uint64_t BytesOf(const CheckpointSource& model, const Recipe& recipe);

enum class Probe : uint8_t { kNo, kYes };

// As few lanes as memory and `disk_bytes` of artefacts in each allow, and with a budget of "least" one for each recipe;
// those that learn from the full-precision model are in the first ones. Without a probe `seconds` are 0. Throws
// Error{kUsage} when a recipe needs calibration and there is none, Error{kResource} saying how much is needed when
// memory is too small for a recipe alone.
QuantizePlan PlanQuantize(const QuantizeJob& job, std::span<const Recipe> recipes, Probe probe = Probe::kYes,
                          uint64_t disk_bytes = UINT64_MAX);

struct QuantizeResult {
  ArtefactInfo info;      // its `seconds` are what this recipe took beside the others
  size_t kept_files = 0;  // good files of an earlier run that were not made again
  // The full-precision model's pass over the calibration tokens: seconds, and how many recipes it served.
  double shared_seconds = 0;
  size_t shared_by = 0;                  // 0: this recipe does not learn from it, or was finished before
  std::exception_ptr failure = nullptr;  // of this recipe alone; nothing else is known then but the seconds
};

// What happens when a recipe fails: the others are finished, then the first failure is thrown, or all are in the
// results.
enum class Failures : uint8_t { kThrow, kReturn };

// Rounds a checkpoint into one artefact per cell, in folders that are made if need be. Layers are written one by
// one; a run that was stopped goes on with the next one and ends with the same bytes, and so does any number
// of threads and of other cells. Where a folder already holds this very artefact, its files are checked and kept.
//
// Failures of one recipe: Error{kConflict} when a folder is the model's folder, holds other things or was made from
// other inputs, Error{kNumeric} for NaN or infinite weights and scales that do not fit. Throws Error{kUsage} for
// the recipe "full" and for calibration that is missing, Error{kResource} when the disk or the memory is too small,
// WriteError, and where statistics are to be saved what their pass fails with.
std::vector<QuantizeResult> QuantizeModel(const QuantizeJob& job, std::span<const QuantizeCell> cells,
                                          Failures failures = Failures::kThrow);

// The same for a folder; says what it will take before it begins. Throws also Error{kUsage} for one that is
// quantized already, what opening a checkpoint and loading a calibration set throws, and Error{kConflict} for a
// folder that cannot be used whatever the recipe.
std::vector<QuantizeResult> QuantizeFolder(const std::string& model_folder,
                                           std::span<const QuantizeCell> cells, const Backend& backend,
                                           const CalibrationSpec* calibration = nullptr,
                                           const MemoryBudget& budget = {},
                                           Failures failures = Failures::kThrow,
                                           const std::string& statistics = {});

}  // namespace lowbit
