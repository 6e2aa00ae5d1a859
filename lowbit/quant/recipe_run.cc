// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/recipe_run.h"

#include <algorithm>
#include <set>
#include <utility>

#include "lowbit/base/log.h"
#include "lowbit/quant/rotation.h"
#include "lowbit/quant/smooth_layer.h"

namespace lowbit {
namespace {

// Weights of an odd kind among those that were rounded between `before` and `after`.
void NoteOddOnes(const std::string& name, const PackedTensor& packed, const RoundingError& before,
                 const RoundingError& after, Notes& notes) {
  const uint64_t rows = after.zero_rows - before.zero_rows;
  const uint64_t groups = after.constant_groups - before.constant_groups,
                 lost = after.lost_groups - before.lost_groups;
  if (rows > 0) notes.push_back(fmt::format("{}: {} of {} rows are 0", name, rows, packed.rows));
  if (groups == 0) return;
  notes.push_back(
      fmt::format("{}: {} of {} groups hold one value", name, groups, packed.rows * packed.Groups()));
  if (lost > 0) notes.back() += fmt::format(", {} of them are lost", lost);
}

float LargestInput(const StepInputs& inputs) {
  float largest = 0;
  for (size_t j = 0; j < inputs.statistics.width; ++j) {
    const float by = inputs.scales.empty() ? 1 : inputs.scales[j];
    largest = std::max(largest, inputs.statistics.max_abs[j] / by);
  }
  return largest;
}

std::string HeldOutOf(const QuantizeJob& job) {
  if (job.calibration == nullptr || job.calibration->held_out.empty()) return "";
  return HeldOutKey(*job.calibration, job.backend.compute());
}

}  // namespace

RecipeRun::RecipeRun(const QuantizeJob& job, const QuantizeCell& cell, const ArtefactInputs& inputs)
    : job_(job),
      cell_(cell),
      inputs_(inputs),
      held_out_(HeldOutOf(job)),
      out_(cell.out_folder, inputs),
      rounder_(job.model, cell.recipe, job.backend.threads()) {
  if (std::optional<ArtefactInfo> info = out_.Finished()) {
    finished_ = true;
    info->base_folder = job.model.checkpoint().folder();  // it may have moved since
    result_.info = std::move(*info);
    result_.kept_files = result_.info.files.size();
    out_.Finish(result_.info);
    if (Measures() && result_.info.held_out != held_out_) {
      result_.info.notes.push_back(result_.info.held_out.empty()
                                       ? "made without held-out rows: no output errors"
                                       : "output errors are of other held-out rows than this run's");
    }
    return;
  }
  for (const PlannedFile& file : rounder_.files()) kept_.push_back(out_.Has(file.name));
  layers_to_make_ = job.model.layout().layers.size();
  while (layers_to_make_ > 0 && kept_[layers_to_make_ - 1]) --layers_to_make_;
}

uint64_t RecipeRun::MissingBytes() const {
  uint64_t bytes = 0;
  for (size_t file = 0; file < kept_.size(); ++file)
    bytes += kept_[file] ? 0 : rounder_.files()[file].Bytes();
  return bytes;
}

void RecipeRun::Begin() {
  out_.Begin();
}

void RecipeRun::Fail(std::exception_ptr failure) noexcept {
  failure_ = std::move(failure);
  stream_.reset();
  GiveUp();
}

std::optional<LayerPatch> RecipeRun::ReadKept(size_t file) {
  if (!kept_[file]) return std::nullopt;
  const PlannedFile& planned = rounder_.files()[file];
  const bool is_layer = file < job_.model.layout().layers.size();
  std::optional<LayerPatch> kept = out_.Kept(planned.name);
  const std::string measured = kept && kept->output_errors ? kept->output_errors->rows : "";
  if (kept && planned.Describes(kept->packed) && (!is_layer || measured == held_out_)) return kept;
  kept_[file] = false;
  if (!LearnsOrMeasures() || !is_layer || file < layers_to_make_) return std::nullopt;
  out_.Drop(planned.name);  // what it was made from has gone by
  starts_over_ = true;
  GiveUp();
  return std::nullopt;
}

void RecipeRun::Follow(std::unique_ptr<CalibrationStream> stream) {
  stream_ = std::move(stream);
  if (stream_) stream_->WeighFirstTokens(cell_.recipe.gptq.sink_weight);
}

void RecipeRun::DoLayer(size_t layer, const LayerWeights& weights, LayerRecord& record,
                        const CalibrationStream* floats, const HeldOutStream* held_out) {
  const bool was_whole = kept_[layer];
  std::optional<LayerPatch> kept = ReadKept(layer);
  if (starts_over_) return;
  const bool is_new = !kept;
  if (is_new && was_whole && LearnsFromFloat()) {  // and nothing of the pass was kept for it
    throw Error(ErrorKind::kContent, Place(cell_.out_folder).Item(rounder_.files()[layer].name),
                "was whole a moment ago and is not any more, expected nobody else to write here");
  }
  LayerPatch patch = std::move(kept).value_or(LayerPatch());
  std::optional<RescaledLayer> rescaled;
  const RoundingError before = rounder_.error();
  if (is_new && cell_.recipe.Rescales()) rescaled = Rescale(layer, weights, record, *floats, patch);
  const RescaledLayer* lent = rescaled ? &*rescaled : nullptr;
  if (stream_) {
    DoOwnLayer(layer, weights, lent, is_new, patch);
  } else {
    DoSharedLayer(layer, record.inputs, lent, is_new, patch);
  }
  if (rescaled) {
    patch.squared_error = {rounder_.error().error - before.error, rounder_.error().weight - before.weight};
  }
  if (is_new && held_out != nullptr) MeasureOutputs(layer, weights, *held_out, lent, patch);
  Write(layer, std::move(patch), !is_new);
}

size_t RecipeRun::Samples() const {
  const std::optional<AwqOptions>& awq = cell_.recipe.awq;
  if (!awq || awq->loss != AwqLoss::kBlock) return 0;
  return awq->samples > 0 ? awq->samples : job_.calibration->sequences.size();
}

RecordNeeds RecipeRun::Needs(size_t layer) const {
  if (!Misses(layer)) return {};
  const bool weighs = cell_.recipe.awq && cell_.recipe.awq->loss == AwqLoss::kHessianRows;
  return {.gram = lowbit::GramOf(cell_.recipe), .samples = Samples(), .row_weights = weighs};
}

void RecipeRun::MeasureOutputs(size_t layer, const LayerWeights& weights, const HeldOutStream& held_out,
                               const RescaledLayer* rescaled, LayerPatch& patch) const {
  patch.output_errors =
      held_out.Measure(weights, patch, rescaled == nullptr ? ScalesByTap() : rescaled->scales);
  std::set<std::string> names = {std::string(kWholeLayer)};
  for (const LinearSpec& linear : job_.model.layout().layers[layer].linears)
    names.insert(WithoutExpert(linear.name));
  for (const std::string& name : names) {
    if (patch.output_errors->relative.contains(name)) continue;
    patch.notes.push_back(fmt::format(
        "layer {}: {}: all outputs are 0 on held-out rows: no relative output error", layer, name));
  }
}

RescaledLayer RecipeRun::RescaleByMethod(size_t layer, const LayerWeights& weights, const LayerRecord& record,
                                         const CalibrationStream& floats) const {
  const Place place = Place().Item(fmt::format("layer {}", layer));
  const StagedLayer::Job staged = floats.JobOf(layer, Samples());
  const auto spec_of = [&](const std::string& linear) { return cell_.recipe.WeightsOf(layer, linear); };
  if (cell_.recipe.smooth) {
    return RescaleWithSmoothQuant({staged.config, staged.layout, staged.backend.threads(),
                                   *cell_.recipe.smooth, spec_of, record.inputs, place},
                                  weights);
  }
  AwqLayerJob job{staged.config,
                  staged.layout,
                  staged.backend,
                  spec_of,
                  record.inputs,
                  place,
                  cell_.recipe.method == "awq" && !cell_.recipe.weights.rotates,
                  cell_.recipe.awq->loss == AwqLoss::kHessianRows ? &record.row_weights : nullptr};
  if (Samples() > 0) {
    job.loss_of = [&](const LayerStep& step) { return floats.LossOf(staged, weights, step, record); };
  }
  return RescaleWithAwq(job, weights);
}

// The layer with scales, and in the patch the vectors that gave them up.
RescaledLayer RecipeRun::Rescale(size_t layer, const LayerWeights& weights, const LayerRecord& record,
                                 const CalibrationStream& floats, LayerPatch& patch) const {
  RescaledLayer rescaled = RescaleByMethod(layer, weights, record, floats);
  const std::string prefix = ModelLayout::LayerPrefix(layer);
  for (const auto& [name, values] : rescaled.norms) {
    if (values != weights.norms.find(name)->second) patch.vectors[prefix + name + ".weight"] = values;
  }
  for (const auto& [name, values] : rescaled.biases) {
    if (values != weights.biases.find(name)->second) patch.vectors[prefix + name + ".bias"] = values;
  }
  if (rescaled.router) {
    const Matrix& router = *rescaled.router;
    patch.vectors[fmt::format("{}{}.weight", prefix, kRouterName)].assign(
        router.data(), router.data() + router.rows() * router.cols());
  }
  std::ranges::copy(rescaled.notes, std::back_inserter(patch.notes));
  for (const auto& [tap, choice] : rescaled.choices) {
    LogDetail(fmt::format("{} layer {} {}: ratio {:.2f}, loss {:.4g}, {:.4g} without scales", inputs_.recipe,
                          layer, tap, choice.Ratio(), choice.losses[choice.step], choice.losses[0]));
  }
  return rescaled;
}

std::unique_ptr<RoundContext> RecipeRun::Prepare(size_t layer, const LayerStep& step,
                                                 const StepInputs& inputs, LayerPatch& patch) const {
  const Place place = Place().Item(fmt::format("layer {}", layer)).Item(step.tap);
  const auto is_rounded = [&](const std::string& reader) {
    return rounder_.FindMatrix(layer, reader) != nullptr;
  };
  if (std::ranges::none_of(step.readers, is_rounded)) return nullptr;
  const size_t block = cell_.recipe.weights.InputFor(step.width).rotation;
  if (block > 0 && HasOwnStream()) RotateGram(inputs.statistics.Gram(), block, job_.backend.threads());
  std::optional<InputStatistics> rotated;  // others learn from the same statistics
  if (block > 0 && !HasOwnStream()) rotated = RotatedDiagonal(inputs.statistics, inputs.scales, block);
  return rounder_.MethodOf(layer).Prepare(cell_.recipe, cell_.recipe.weights,
                                          rotated ? StepInputs{*rotated, {}} : inputs, place,
                                          job_.backend.threads(), patch.notes);
}

void RecipeRun::RoundOne(size_t layer, const std::string& linear, const RoundContext* context,
                         const RescaledLayer* rescaled, float largest_input, bool is_new, LayerPatch& patch) {
  const PlannedMatrix* planned = rounder_.FindMatrix(layer, linear);
  if (planned == nullptr) return;  // kept as it is
  const PlannedMatrix& matrix = *planned;
  PackedTensor& packed = patch.packed[matrix.name];
  if (!is_new && patch.squared_error) {  // what was rounded is not there any more
    rounder_.Count(matrix.name, packed, {});
    return;
  }
  const Matrix* weights = rescaled == nullptr ? nullptr : &rescaled->linears.find(linear)->second;
  const RoundingError before = rounder_.error();
  rounder_.RoundOne(layer, matrix, context, is_new, packed, weights, largest_input);
  if (is_new) NoteOddOnes(matrix.name, packed, before, rounder_.error(), patch.notes);
}

// What linears read is the full-precision model's, or does not matter.
void RecipeRun::DoSharedLayer(size_t layer, LayerStatistics& inputs, const RescaledLayer* rescaled,
                              bool is_new, LayerPatch& patch) {
  for (const LayerStep& step : StepsOf(job_.model.layout().layers[layer])) {
    const auto statistics = inputs.find(step.tap);
    std::unique_ptr<RoundContext> context;
    float largest = 0;
    if (is_new && LearnsFromFloat() && statistics != inputs.end()) {
      std::span<const float> scales;
      if (rescaled != nullptr && rescaled->scales.contains(step.tap)) {
        scales = rescaled->scales.find(step.tap)->second;
      }
      context = Prepare(layer, step, {statistics->second, scales}, patch);
      largest = LargestInput({statistics->second, scales});
    }
    for (const std::string& reader : step.readers) {
      RoundOne(layer, reader, context.get(), rescaled, largest, is_new, patch);
    }
  }
}

// The readers of a step, given what they see, which is given up once it was learned from.
void RecipeRun::RoundStep(size_t layer, const LayerStep& step, InputStatistics& statistics,
                          const RescaledLayer* rescaled, bool is_new, LayerPatch& patch) {
  std::unique_ptr<RoundContext> context;
  if (is_new) context = Prepare(layer, step, {statistics, {}}, patch);
  const float largest = is_new ? LargestInput({statistics, {}}) : 0;
  statistics = InputStatistics();
  for (const std::string& reader : step.readers) {
    RoundOne(layer, reader, context.get(), rescaled, largest, is_new, patch);
  }
}

// The rows pass through what the layer has become: step by step, each rounded before they do, or all rounded by what
// the layer's steps see as it was.
void RecipeRun::DoOwnLayer(size_t layer, const LayerWeights& weights, const RescaledLayer* rescaled,
                           bool is_new, LayerPatch& patch) {
  LayerWeights base = weights;
  ReplaceVectors(patch.vectors, ModelLayout::LayerPrefix(layer), base);
  const bool looks_first =
      is_new && FindMethod(cell_.recipe.method)->Learns(cell_.recipe) == Stream::kOwnLayers;
  if (looks_first) {
    stream_->Look(layer, base, GramPart::kFull, [&](const LayerStep& step, InputStatistics& statistics) {
      RoundStep(layer, step, statistics, rescaled, is_new, patch);
    });
  }
  const GramPart part = is_new && !looks_first ? GramPart::kFull : GramPart::kNone;
  stream_->Run(layer, base, part, [&](const LayerStep& step, InputStatistics& statistics) {
    if (!looks_first) RoundStep(layer, step, statistics, rescaled, is_new, patch);
    return [this, layer, &patch, &base](const std::string& name) -> Weight {
      const PlannedMatrix* matrix = rounder_.FindMatrix(layer, name);
      if (matrix == nullptr) return base.linears.find(name)->second;
      const PackedTensor& tensor = patch.packed.find(matrix->name)->second;
      return std::shared_ptr<const PackedTensor>(std::shared_ptr<void>(), &tensor);  // lent by `patch`
    };
  });
}

void RecipeRun::DoHead() {
  stream_.reset();
  const size_t layers = job_.model.layout().layers.size();
  for (size_t file = layers; file < rounder_.files().size(); ++file) {
    LayerPatch patch = ReadKept(file).value_or(LayerPatch());
    for (const PlannedMatrix& matrix : rounder_.files()[file].matrices) {
      const RoundingError before = rounder_.error();
      PackedTensor& packed = patch.packed[matrix.name];
      rounder_.RoundOne(file, matrix, nullptr, !kept_[file], packed);
      if (!kept_[file]) NoteOddOnes(matrix.name, packed, before, rounder_.error(), patch.notes);
    }
    Write(file, std::move(patch), kept_[file]);
  }
}

// A file is written while the next one is made. One at a time, so that they appear in order.
void RecipeRun::Write(size_t file, LayerPatch patch, bool is_kept) {
  job_.model.checkpoint().RequireIntact();  // before a file says what its weights were
  FinishWriting();
  written_ = rounder_.files()[file].name;
  result_.kept_files += is_kept ? 1 : 0;
  if (is_kept && patch.squared_error) {
    rounder_.AddError({patch.squared_error->first, patch.squared_error->second});
  }
  std::ranges::copy(patch.notes, std::back_inserter(result_.info.notes));
  writing_ =
      std::async(std::launch::async, [this, name = written_, is_kept, sent = std::move(patch)]() mutable {
        const LayerPatch leaving = std::move(sent);  // with the last byte
        return is_kept ? out_.Describe(name, leaving) : out_.Write(name, leaving);
      });
}

void RecipeRun::FinishWriting() {
  if (writing_.valid()) result_.info.files[written_] = writing_.get();
}

void RecipeRun::GiveUp() noexcept {
  if (writing_.valid()) writing_.wait();
  out_.GiveUp();
}

void RecipeRun::Finish() {
  const Stopwatch watch;
  FinishWriting();
  ArtefactInfo& info = result_.info;
  info.base_folder = job_.model.checkpoint().folder();
  info.base_bytes = job_.model.checkpoint().TensorBytes();
  info.weights_hash = inputs_.weights_hash;
  info.config_hash = inputs_.config_hash;
  info.recipe = inputs_.recipe;
  info.calibration = inputs_.calibration;
  info.held_out = held_out_;
  info.code_version = inputs_.code_version;
  info.layers = job_.model.layout().layers.size();
  info.has_head = cell_.recipe.head.has_value();
  rounder_.Describe(info);
  if (job_.calibration != nullptr && held_out_.empty()) {
    info.notes.push_back("the calibration text has no tokens behind the set to hold out: no output errors");
  }
  info.seconds = seconds_ + watch.Seconds();
  out_.Finish(info);
  finished_ = true;
}

}  // namespace lowbit
