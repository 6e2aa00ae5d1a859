// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/sweep.h"

#include <algorithm>

#include "lowbit/base/files.h"
#include "lowbit/base/progress.h"

namespace lowbit {

std::vector<RecipeRun*> Sweep::Active() const {
  std::vector<RecipeRun*> active;
  std::ranges::copy_if(runs_, std::back_inserter(active),
                       [](const RecipeRun* run) { return run->IsActive(); });
  return active;
}

std::unique_ptr<CalibrationStream> Sweep::NewStream() const {
  const std::string folder = lane_.scratch_file ? job_.budget.ScratchFolder() : std::string();
  return std::make_unique<CalibrationStream>(job_.model, *job_.calibration, job_.backend,
                                             ActivationsPlace{folder});
}

// Work for some of the runs: where it fails, they do, and the others go on.
template <class F>
void Sweep::DoShared(Concerns concerns, const F& work) {
  try {
    work();
  } catch (const WriteError&) {
    throw;
  } catch (const std::exception&) {
    if (statistics_ != nullptr) throw;
    for (RecipeRun* run : Active()) {
      if ((run->*concerns)()) run->Fail(std::current_exception());
    }
  }
}

void Sweep::Run() {
  for (RecipeRun* run : Active()) run->Do([&] { run->Begin(); });
  OpenStreams();
  const size_t layers = job_.model.layout().layers.size();
  Progress progress("quantizing", layers);
  for (size_t layer = 0; layer < layers && (statistics_ != nullptr || !Active().empty()); ++layer) {
    DoLayer(layer);
    progress.Step(fmt::format("layer {}", layer));
  }
  float_.reset();
  held_out_.reset();
  for (RecipeRun* run : Active()) {
    run->Do([&] {
      run->DoHead();
      run->Finish();
    });
  }
}

// Whether work that concerns some runs is still to be done in this layer. Never again after a layer where it is not.
bool Sweep::IsNeeded(Concerns concerns, size_t layer) const {
  if (statistics_ != nullptr && concerns != &RecipeRun::Measures) return true;
  return std::ranges::any_of(runs_, [&](const RecipeRun* run) {
    return run->IsActive() && (run->*concerns)() && layer < run->LayersToMake();
  });
}

void Sweep::OpenStreams() {
  for (RecipeRun* run : Active()) {
    if (run->LayersToMake() == 0) continue;
    if (run->HasOwnStream()) run->Do([&] { run->Follow(NewStream()); });
    if (run->LearnsFromFloat()) ++shared_by_;
  }
  if (IsNeeded(&RecipeRun::Measures, 0)) {
    DoShared(&RecipeRun::Measures, [&] {
      held_out_ = std::make_unique<HeldOutStream>(job_.model, *job_.calibration, job_.backend);
    });
  }
  const Stopwatch watch;
  if (IsNeeded(&RecipeRun::LearnsFromFloat, 0)) {
    DoShared(&RecipeRun::LearnsFromFloat, [&] { float_ = NewStream(); });
  }
  shared_seconds_ += watch.Seconds();
}

void Sweep::DoLayer(size_t layer) {
  for (RecipeRun* run : Active()) {
    if (run->LearnsFromFloat()) run->Do([&] { run->ReadKept(layer); });
  }
  LayerWeights weights;
  if (IsNeeded(&RecipeRun::LearnsOrMeasures, layer)) {
    DoShared(&RecipeRun::LearnsOrMeasures, [&] { weights = job_.model.Layer(layer); });
  }
  if (!IsNeeded(&RecipeRun::LearnsFromFloat, layer)) float_.reset();
  if (!IsNeeded(&RecipeRun::Measures, layer)) held_out_.reset();
  LayerRecord record;
  if (held_out_) DoShared(&RecipeRun::Measures, [&] { held_out_->Advance(layer, weights); });
  const Stopwatch watch;
  if (float_) DoShared(&RecipeRun::LearnsFromFloat, [&] { record = Record(layer, weights); });
  shared_seconds_ += watch.Seconds();
  // Those that learn from the record first: it may be larger than the layer.
  std::vector<RecipeRun*> runs = Active();
  std::stable_partition(runs.begin(), runs.end(),
                        [](const RecipeRun* run) { return run->LearnsFromFloat(); });
  for (RecipeRun* run : runs) {
    if (!run->LearnsFromFloat()) record = {};
    run->Do([&] {
      if (layer == run->LayersToMake()) run->Follow(nullptr);  // nothing behind this is to be made
      run->DoLayer(layer, weights, record, float_.get(), held_out_.get());
    });
    WaitForAllBut(run);
  }
  job_.model.Release(layer);
  if (layer + 1 < job_.model.layout().layers.size()) job_.model.Prefetch(layer + 1);
}

// A file is written while the next is made, whosever it is: two recipes' layers are in memory, not all.
void Sweep::WaitForAllBut(const RecipeRun* writing) {
  for (RecipeRun* run : runs_) {
    if (run != writing && run->IsActive()) run->Do([&] { run->FinishWriting(); });
  }
}

// What the full-precision model does in a layer, as far as anyone wants to know.
LayerRecord Sweep::Record(size_t layer, const LayerWeights& weights) {
  RecordNeeds needs;
  for (const RecipeRun* run : Active()) needs += run->Needs(layer);
  if (statistics_ != nullptr) needs.gram = GramPart::kFull;
  LayerRecord record = float_->Record(layer, weights, needs);
  if (statistics_ != nullptr) statistics_->Write(layer, job_.model.layout().layers[layer], record.inputs);
  return record;
}

}  // namespace lowbit
