// SPDX-License-Identifier: Apache-2.0
// The tokens of a calibration set on their way through the layers: what a method's statistics are taken from.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lowbit/calib/calibration_set.h"
#include "lowbit/calib/statistics.h"
#include "lowbit/model/layer_module.h"
#include "lowbit/model/layer_source.h"
#include "lowbit/model/rope.h"
#include "lowbit/model/staged_layer.h"
#include "lowbit/quant/awq.h"
#include "lowbit/quant/row_weights.h"

namespace lowbit {

// By LayerStep::tap.
using LayerStatistics = std::map<std::string, InputStatistics, std::less<>>;

// What the full-precision model did in one layer.
struct LayerRecord {
  LayerStatistics inputs;
  ModuleRows attention, mlp;  // of the first sequences, when they were asked for
  RowWeights row_weights;     // the same
};

// What methods want to know of a layer.
struct RecordNeeds {
  GramPart gram = GramPart::kNone;  // kNone: no statistics at all
  size_t samples = 0;               // sequences whose modules' rows are kept
  bool row_weights = false;

  RecordNeeds& operator+=(const RecordNeeds& other) {
    gram = std::max(gram, other.gram);
    samples = std::max(samples, other.samples);
    row_weights |= other.row_weights;
    return *this;
  }
};

class CalibrationStream {
 public:
  // Looks the tokens up in the embedding. All must outlive this. Throws Error{kContent} for an id outside the
  // vocabulary, Error{kResource} when the scratch file cannot be made.
  CalibrationStream(const LayerSource& model, const CalibrationSet& set, const Backend& backend,
                    ActivationsPlace place);

  // From now on every sequence's first token counts as often in the Gram matrix of what q, k and v read.
  void WeighFirstTokens(uint32_t weight) { first_token_weight_ = weight; }

  // Takes the rows through layer `index` with these weights: `decide` sees what each step's readers see and says
  // what weights they have from then on. With kNone it sees no statistics at all. Throws Error{kNumeric} naming
  // the layer when its output is not finite.
  using Decide = std::function<StagedLayer::WeightOf(const LayerStep& step, InputStatistics& statistics)>;
  void Run(size_t index, const LayerWeights& weights, GramPart part, const Decide& decide);

  // Shows `see` what the steps of layer `index` read when its linears are those of `weights`. The rows stay before it.
  using See = std::function<void(const LayerStep& step, InputStatistics& statistics)>;
  void Look(size_t index, const LayerWeights& weights, GramPart part, const See& see) const;

  // The same as Run with weights that are what they are.
  LayerRecord Record(size_t index, const LayerWeights& weights, const RecordNeeds& needs);

  // The rows as they are, before the next layer. In memory.
  std::unique_ptr<Activations> CopyOfRows() const { return CopyOfRows({}); }

  // What a module's output tells of scales for the readers of `step`, by the sequences of `job`, which `record` has
  // kept; nullptr where the Gram matrix tells as much. All must outlive it.
  std::unique_ptr<ScaleLoss> LossOf(const StagedLayer::Job& job, const LayerWeights& weights,
                                    const LayerStep& step, const LayerRecord& record) const;
  // Of the first `sequences`.
  StagedLayer::Job JobOf(size_t index, size_t sequences) const;
  size_t sequences() const { return sequences_.size(); }

  // The same, where `place` says.
  std::unique_ptr<Activations> CopyOfRows(const ActivationsPlace& place) const;

  // Bytes of `rows` tokens: in the stream, and between two steps of a layer.
  static uint64_t RowBytes(const ModelConfig& config, size_t rows);
  static uint64_t BetweenBytes(const ModelConfig& config, size_t rows);

 private:
  InputStatistics Collect(StagedLayer& layer, const LayerStep& step, GramPart part) const;
  std::unique_ptr<Activations> Normalized(std::span<const float> norm, size_t samples) const;

  const LayerSource& model_;
  const Backend& backend_;
  ActivationsPlace place_;
  std::vector<SequenceRows> sequences_;
  size_t held_ = 0;  // rows of one group
  uint32_t first_token_weight_ = 1;
  RopeTable rope_;
  std::unique_ptr<Activations> x_;
};

}  // namespace lowbit
