// SPDX-License-Identifier: Apache-2.0
// The driver: runs a recipe over a model, one stage of one layer in memory at a time, and writes an artefact.
#pragma once

#include <string>

#include "lowbit/base/memory.h"
#include "lowbit/base/threads.h"
#include "lowbit/checkpoint/artefact.h"
#include "lowbit/model/layer_source.h"
#include "lowbit/quant/spec.h"

namespace lowbit {

// What quantizing will take.
struct QuantizePlan {
  uint64_t peak_bytes = 0;  // of this process, all told
  uint64_t bytes_read = 0, bytes_written = 0;
  double seconds = 0;  // from a short probe

  std::string Text() const;  // one line
};

// Throws Error{kResource} saying how much is needed when the budget is too small.
QuantizePlan PlanQuantize(const CheckpointSource& model, const Recipe& recipe, const Threads& threads,
                          const MemoryBudget& budget);

struct QuantizeResult {
  ArtefactInfo info;
  size_t kept_files = 0;  // good files of an earlier run that were not made again
};

// Rounds a checkpoint into an artefact in `out_folder`, which is made if need be. Layers are written one by
// one; a run that was stopped goes on with the next one and ends with the same bytes, and so does any number
// of threads. When `out_folder` already holds this very artefact, its files are checked and kept.
//
// `weights_hash` is model.checkpoint().WeightsHash(threads), for callers who know it already; it is computed when
// empty.
//
// Throws Error{kUsage} for the recipe "full", Error{kConflict} when out_folder is the model's folder, holds
// other things or was made from other inputs, Error{kNumeric} for NaN or infinite weights and scales that do
// not fit, Error{kResource} when the disk is too small. Memory: ModelRounder::PeakBytes.
QuantizeResult QuantizeModel(const CheckpointSource& model, const Recipe& recipe,
                             const std::string& out_folder, const Threads& threads,
                             const std::string& weights_hash = "");

// The same for a folder, within a budget; says what it will take before it begins. Throws also Error{kUsage} for one that is quantized already, and what opening a
// checkpoint throws.
QuantizeResult QuantizeModel(const std::string& model_folder, const Recipe& recipe,
                             const std::string& out_folder, const Threads& threads,
                             const MemoryBudget& budget = {});

}  // namespace lowbit
