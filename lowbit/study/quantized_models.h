// SPDX-License-Identifier: Apache-2.0
// The quantized models of one model of a study, on disk from before their first cell until after their last.
#pragma once

#include <exception>
#include <memory>
#include <string>
#include <vector>

#include "lowbit/kernels/backend.h"
#include "lowbit/quant/layer_stream.h"
#include "lowbit/study/plan.h"

namespace lowbit {

// Where quantized models lie that are dropped after use: .lowbit-scratch in the study's folder. The name is nobody
// else's: all in it is removed.
std::string ScratchFolder(const std::string& folder);

// Recipes are quantized in the sweeps that the plan says, each when the first of its cells asks for a model, and in
// the plan's order: so that no more lies on the disk at a time than one sweep leaves. When a study ends early, what
// is finished stays for the next run.
class QuantizedModels {
 public:
  // All must outlive this.
  QuantizedModels(const StudyPlan& plan, const PlannedSweeps& sweeps, const std::string& folder,
                  const Backend& backend);

  // The model a recipe makes, and in `row` what is known of it, times in the row of its first cell. Throws what
  // quantizing it failed with; WriteError and a request to stop are of everything.
  const LayerSource& Source(size_t recipe, CellRow& row);

  // After the last cell of a recipe.
  void Drop(size_t recipe);

 private:
  struct Made {
    bool is_made = false, is_told = false;  // told: its times are in a row
    QuantizeResult result;
    uint64_t peak_bytes = 0;  // of the sweep
    std::unique_ptr<ArtefactSource> source;
  };
  std::string FolderOf(size_t recipe) const;
  void Sweep(size_t recipe);
  void RequireRoomForAll() const;

  const StudyPlan& plan_;
  const PlannedSweeps& sweeps_;
  const PlannedModel& model_;
  std::string folder_;
  const Backend& backend_;
  std::vector<Made> made_;  // by recipe of the study
  bool has_room_ = false;
};

}  // namespace lowbit
