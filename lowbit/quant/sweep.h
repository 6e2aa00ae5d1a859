// SPDX-License-Identifier: Apache-2.0
// One lane on its way through the layers: what its recipes share is read and computed once.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "lowbit/quant/layer_stream.h"
#include "lowbit/quant/recipe_run.h"
#include "lowbit/quant/statistics_folder.h"

namespace lowbit {

class Sweep {
 public:
  // All must outlive this. A run that fails is marked, and the others go on.
  // `statistics`: where they go, if the lane saves them.
  Sweep(const QuantizeJob& job, const QuantizeLane& lane, std::span<RecipeRun* const> runs,
        const StatisticsFolder* statistics)
      : job_(job), lane_(lane), runs_(runs), statistics_(statistics) {}

  // Makes what is missing. Throws only what ends all of them: WriteError, a request to stop, and what the
  // full-precision model's pass fails with where its statistics are saved.
  void Run();

  // What runs that learn from the full-precision model have in common, and how many these are. The pass of a few
  // hundred held-out rows is not in it.
  double shared_seconds() const { return shared_seconds_; }
  size_t shared_by() const { return shared_by_; }

 private:
  std::vector<RecipeRun*> Active() const;
  std::unique_ptr<CalibrationStream> NewStream() const;
  using Concerns = bool (RecipeRun::*)() const;  // which runs some work is for
  template <class F>
  void DoShared(Concerns concerns, const F& work);
  bool IsNeeded(Concerns concerns, size_t layer) const;
  void OpenStreams();
  void DoLayer(size_t layer);
  void WaitForAllBut(const RecipeRun* writing);
  LayerRecord Record(size_t layer, const LayerWeights& weights);

  const QuantizeJob& job_;
  const QuantizeLane& lane_;
  std::span<RecipeRun* const> runs_;
  const StatisticsFolder* statistics_;
  std::unique_ptr<CalibrationStream> float_;
  std::unique_ptr<HeldOutStream> held_out_;
  double shared_seconds_ = 0;
  size_t shared_by_ = 0;
};

}  // namespace lowbit
