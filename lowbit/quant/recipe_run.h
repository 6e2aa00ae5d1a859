// SPDX-License-Identifier: Apache-2.0
// One recipe on its way through a model: its output folder, its own calibration rows if it learns from them, and
// the file that is being written.
#pragma once

#include <future>
#include <memory>
#include <optional>
#include <string>

#include "lowbit/base/files.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/quant/awq_layer.h"
#include "lowbit/quant/calibration_stream.h"
#include "lowbit/quant/layer_stream.h"
#include "lowbit/quant/model_rounder.h"
#include "lowbit/quant/output_error.h"
#include "lowbit/quant/output_folder.h"
#include "lowbit/quant/quantize_memory.h"

namespace lowbit {

class RecipeRun {
 public:
  // Opens and locks the cell's folder. Throws what OutputFolder throws.
  RecipeRun(const QuantizeJob& job, const QuantizeCell& cell, const ArtefactInputs& inputs);

  // Whether the folder holds the finished artefact, from an earlier run or made now.
  bool IsFinished() const { return finished_; }
  // Whether there is work to do: neither finished nor failed, nor set aside.
  bool IsActive() const { return !finished_ && !failure_ && !starts_over_; }
  // A kept file turned out damaged where it cannot be made any more. It is gone; another run makes it.
  bool StartsOver() const { return starts_over_; }
  const std::exception_ptr& failure() const { return failure_; }
  double seconds() const { return seconds_; }  // of Do

  // Work of this recipe, whose time is its own. An exception ends this run and not the others; WriteErrors and
  // requests to stop go on to the caller.
  template <class F>
  void Do(const F& work);
  // What is finished of the artefact stays, and what the run holds is given up.
  void Fail(std::exception_ptr failure) noexcept;

  uint64_t MissingBytes() const;  // of files that are not there
  // Before the first layer: the plan file.
  void Begin();

  bool HasOwnStream() const { return lowbit::HasOwnStream(cell_.recipe); }
  // Whether it learns from what the full-precision model does.
  bool LearnsFromFloat() const { return lowbit::LearnsFromFloat(cell_.recipe); }
  // What it wants to know of a layer that the full-precision model passes through.
  RecordNeeds Needs(size_t layer) const;
  bool Learns() const { return HasOwnStream() || LearnsFromFloat(); }
  // Whether what it loses is measured on held-out rows.
  bool Measures() const { return !held_out_.empty(); }
  bool LearnsOrMeasures() const { return Learns() || Measures(); }
  size_t LayersToMake() const { return layers_to_make_; }  // up to and with the last that was not there
  // Its own calibration rows, where it learns from them.
  void Follow(std::unique_ptr<CalibrationStream> stream);

  // What an earlier run left of a file, if that is whole and good. Before Needs, whose answer it may change. DoLayer
  // reads it again: the layers of all recipes do not stay in memory until it is their turn.
  std::optional<LayerPatch> ReadKept(size_t file);
  bool Misses(size_t layer) const { return !kept_[layer]; }

  // One layer, from an earlier run or made now. `record`: what the full-precision model did in it, by `floats`,
  // for methods that learn from that. `held_out`: has been through this layer; nullptr where there is none.
  void DoLayer(size_t layer, const LayerWeights& weights, LayerRecord& record,
               const CalibrationStream* floats, const HeldOutStream* held_out);
  void DoHead();
  // Waits for the file that is being written.
  void FinishWriting();

  // Waits for the last file and writes the manifest.
  void Finish();
  const QuantizeResult& result() const { return result_; }
  // After an error: the file that is being written is finished first, as it may stay.
  void GiveUp() noexcept;

 private:
  void Write(size_t file, LayerPatch patch, bool is_kept);
  void MeasureOutputs(size_t layer, const LayerWeights& weights, const HeldOutStream& held_out,
                      const RescaledLayer* rescaled, LayerPatch& patch) const;
  RescaledLayer RescaleByMethod(size_t layer, const LayerWeights& weights, const LayerRecord& record,
                                const CalibrationStream& floats) const;
  RescaledLayer Rescale(size_t layer, const LayerWeights& weights, const LayerRecord& record,
                        const CalibrationStream& floats, LayerPatch& patch) const;
  // Sequences that its block losses look at; 0 when it has none.
  size_t Samples() const;
  void DoOwnLayer(size_t layer, const LayerWeights& weights, const RescaledLayer* rescaled, bool is_new,
                  LayerPatch& patch);
  void DoSharedLayer(size_t layer, LayerStatistics& inputs, const RescaledLayer* rescaled, bool is_new,
                     LayerPatch& patch);
  void RoundStep(size_t layer, const LayerStep& step, InputStatistics& statistics,
                 const RescaledLayer* rescaled, bool is_new, LayerPatch& patch);
  std::unique_ptr<RoundContext> Prepare(size_t layer, const LayerStep& step, const StepInputs& inputs,
                                        LayerPatch& patch) const;
  void RoundOne(size_t layer, const std::string& linear, const RoundContext* context,
                const RescaledLayer* rescaled, float largest_input, bool is_new, LayerPatch& patch);

  const QuantizeJob& job_;
  const QuantizeCell& cell_;
  ArtefactInputs inputs_;
  std::string held_out_;  // HeldOutKey; empty without such rows
  OutputFolder out_;
  ModelRounder rounder_;
  bool finished_ = false, starts_over_ = false;
  std::exception_ptr failure_;
  double seconds_ = 0;
  std::vector<bool> kept_;  // by file: there, and once it was read whole and good, from an earlier run
  size_t layers_to_make_ = 0;
  std::unique_ptr<CalibrationStream> stream_;
  QuantizeResult result_;
  std::future<ArtefactFile> writing_;
  std::string written_;
};

template <class F>
void RecipeRun::Do(const F& work) {
  const Stopwatch watch;
  try {
    work();
  } catch (const WriteError&) {
    throw;
  } catch (const std::exception&) {
    Fail(std::current_exception());
  }
  seconds_ += watch.Seconds();
}

}  // namespace lowbit
