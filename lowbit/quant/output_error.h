// SPDX-License-Identifier: Apache-2.0
// What each layer loses, on rows that no method learned from: the full-precision model's inputs of the layer go
// through what the layer has become. One full-precision pass over a few hundred tokens serves every recipe.
// Errors of earlier layers are not in it: it says where loss arises, not how it adds up.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lowbit/calib/calibration_set.h"
#include "lowbit/checkpoint/artefact.h"
#include "lowbit/model/layer_source.h"
#include "lowbit/model/rope.h"
#include "lowbit/model/staged_layer.h"

namespace lowbit {

// Which rows, for OutputErrors::rows: the hash of the held-out tokens and the compute type of the pass.
std::string HeldOutKey(const CalibrationSet& set, Compute compute);

// "mlp.experts.5.up_proj" becomes "mlp.experts.up_proj", other names stay.
std::string WithoutExpert(const std::string& linear);

// Scales by tap: a stage's readers were multiplied by them column by column, and what produces their input was
// divided by them row by row.
using ScalesByTap = std::map<std::string, std::vector<float>, std::less<>>;

class HeldOutStream {
 public:
  // Looks up the set's held-out tokens, of which there must be some. All must outlive this. Throws
  // Error{kContent} for an id outside the vocabulary.
  HeldOutStream(const LayerSource& model, const CalibrationSet& set, const Backend& backend);

  // Takes the rows through layer `index`, layer after layer from 0 on. Throws Error{kNumeric} naming the layer when
  // its output is not finite.
  void Advance(size_t index, const LayerWeights& weights);

  // What the layer of the last Advance, whose weights these are, loses where `patch` takes their place. `scales`:
  // those that were folded into the weights before they were rounded. Does not depend on the number of threads.
  // Throws Error{kNumeric} naming the linear or the layer whose error is not finite. Needs one linear in f32.
  OutputErrors Measure(const LayerWeights& weights, const LayerPatch& patch, const ScalesByTap& scales) const;

  // Memory that a stream takes: all the time, and while Advance or Measure is at work.
  struct Memory {
    uint64_t held = 0, working = 0;
  };
  static Memory Bytes(const LayerSource& model, const CalibrationSet& set, const Backend& backend);

 private:
  StagedLayer::Job Job() const;
  const LayerLayout& layout() const { return model_.layout().layers[index_]; }
  // ‖X Aᵀ‖² of a matrix A [rows, X's columns] whose row r `fill` writes.
  using FillRow = std::function<void(size_t r, MatView<float> row)>;
  double SquaredProducts(MatView<const float> x, size_t rows, const FillRow& fill) const;
  double LinearError(const LayerStep& step, const std::string& linear, const LayerWeights& weights,
                     const LayerPatch& patch, const ScalesByTap& scales) const;
  struct InputSums;
  void AddInputs(const LayerStep& step, const std::string& linear, const Weight& weight,
                 const PackedTensor& packed, const ScalesByTap& scales, InputSums& sums) const;
  double LayerError(const LayerWeights& weights, const LayerPatch& patch) const;

  const LayerSource& model_;
  const Backend& backend_;
  std::string key_;
  std::vector<SequenceRows> sequences_;
  RopeTable rope_;
  std::unique_ptr<Activations> x_;
  size_t index_ = 0;
  Matrix before_;                                       // the last layer's input
  std::map<std::string, Matrix, std::less<>> inputs_;   // by tap, what its readers see
  std::map<std::string, double, std::less<>> outputs_;  // by linear, ‖X Wᵀ‖²
  double change_ = 0;                                   // ‖y - x‖² of the layer
};

}  // namespace lowbit
