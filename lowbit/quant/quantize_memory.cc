// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/quantize_memory.h"

#include <algorithm>

#include "lowbit/model/layer_forward.h"
#include "lowbit/quant/calibration_stream.h"
#include "lowbit/quant/gptq.h"
#include "lowbit/quant/gptq_loops.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/model_rounder.h"
#include "lowbit/quant/output_error.h"

namespace lowbit {
namespace {

constexpr uint64_t kLibraries = uint64_t{20} << 20;  // threads, hashing, the heap's holes
constexpr uint64_t kTile = 64, kPanel = 512;         // of the kernels' products, rounded up
constexpr uint64_t kFormedRows = 512;                // kernels/cpu: rotated or rounded to integers at once
constexpr uint64_t kGramFactors = uint64_t{64} << 20, kGramChunks = 8;  // kernels/cpu/gram.cc
constexpr uint64_t kCounts = uint64_t{1} << 18;                         // billm_split.cc
constexpr uint64_t kClipErrors = uint64_t{1} << 22;                     // awq_clip.cc

uint64_t Floats(uint64_t count) {
  return count * sizeof(float);
}

uint64_t GramBytes(GramPart part, uint64_t width) {
  switch (part) {
    case GramPart::kNone:
      return 0;
    case GramPart::kDiagonal:
      return width * kGramBlock * sizeof(double);
    case GramPart::kFull:
      return width * width * sizeof(double);
  }
  return 0;
}

// One layer on its way through a sweep.
class LayerMemory {
 public:
  LayerMemory(const QuantizeJob& job, const LayerLayout& layout, uint64_t rows, uint64_t held)
      : job_(job),
        config_(job.model.config()),
        layout_(layout),
        threads_(static_cast<uint64_t>(job.backend.threads().count())),
        rows_(rows),
        held_(held),
        longest_(job.calibration->spec.length),
        group_(std::min<uint64_t>(rows, std::max<uint64_t>(kRowsPerGroup, longest_))),
        steps_(StepsOf(layout)) {}

  // Beside the streams' rows: statistics that were collected, what modules read and, of `samples` rows, put out, pages
  // of the checkpoint.
  uint64_t FloatPass(GramPart part, uint64_t inputs, uint64_t outputs) const {
    uint64_t most = 0, grams = 0, pages = 0, modules = 0;
    for (const LayerStep& step : steps_) {
      grams += GramBytes(part, step.width);
      pages += StoredOf(step);
      modules = std::max(modules, Advance(step));
      const bool is_behind = step.kind != LayerStep::Kind::kAttnIn && step.kind != LayerStep::Kind::kAttnOut;
      const uint64_t copies = (is_behind ? 2 : 1) * Copies(inputs);
      most = std::max(most, grams + copies + pages + std::max(InputsOf(step, part), Advance(step)));
    }
    if (inputs == 0) return most;
    return std::max(most, grams + 2 * Copies(inputs) + 2 * Copies(outputs) + pages + modules);
  }

  // What is left of it for the recipes that learn from it.
  uint64_t Record(GramPart part, uint64_t outputs) const {
    uint64_t bytes = 4 * Copies(outputs);
    for (const LayerStep& step : steps_) bytes += GramBytes(part, step.width);
    return bytes;
  }

  // Pages of the checkpoint; those that were read stay until the layer is done.
  uint64_t Stored() const {
    uint64_t bytes = 0;
    for (const LayerStep& step : steps_) bytes += StoredOf(step);
    return bytes;
  }

  // A recipe whose rows pass through its own layers.
  uint64_t OwnPass(const Recipe& recipe) const {
    const Method& method = *FindMethod(recipe.method);
    const uint64_t copy = method.Learns(recipe) == Stream::kOwnLayers ? Rows(config_.hidden_size) : 0;
    uint64_t most = 0;
    for (const LayerStep& step : steps_) {
      const uint64_t w = step.width, factor = Floats(w * w);
      const uint64_t tiles =
          method.Info().whole_matrix ? WholeMatrix(step, recipe.weights) : threads_ * w * kGptqRows * 9;
      const uint64_t prepare = BeforeOf(step) + Group() + GramBytes(GramPart::kFull, w) + factor;
      const uint64_t round = BeforeOf(step) + Group() + factor + tiles;
      const uint64_t formed =
          recipe.weights.InputFor(w).IsPlain() ? 0 : Floats(std::min(group_, kFormedRows) * w);
      most = std::max({most, InputsOf(step, GramPart::kFull) + GramBytes(GramPart::kFull, w), prepare, round,
                       factor + Advance(step) + formed});
    }
    return copy + most;
  }

  uint64_t LayerFloats() const {
    uint64_t weights = 0;
    for (const LinearSpec& linear : layout_.linears) weights += uint64_t{linear.out} * linear.in;
    return Floats(weights);
  }

  // AWQ's searches, beside the record and a layer in f32.
  uint64_t Search(const Recipe& recipe) const {
    uint64_t most = 0;
    for (size_t i = 0; i < steps_.size(); ++i) {
      const LayerStep& step = steps_[i];
      uint64_t readers = 0, rows = 0;
      for (const std::string& reader : step.readers) {
        readers += Floats(layout_.Linear(reader).out * step.width);
        rows = std::max<uint64_t>(rows, layout_.Linear(reader).out);
      }
      const bool is_module = step.kind == LayerStep::Kind::kAttnIn || step.kind == LayerStep::Kind::kMlpIn;
      const bool by_block = recipe.awq->loss == AwqLoss::kBlock && is_module && i + 1 < steps_.size();
      const uint64_t form = Floats(step.width * step.width / 2 + step.width * kPanel * 2) +
                            Floats(1024 * (step.width + kPanel));
      const uint64_t block = by_block ? std::max(Advance(step), Advance(steps_[i + 1])) : 0;
      const uint64_t clip =
          3 * Floats(std::min(kClipErrors, 10 * rows * recipe.weights.GroupSizeFor(step.width)));
      most = std::max({most, readers + (by_block ? block : form), clip});
    }
    return most;
  }

 private:
  uint64_t Rows(uint64_t cols) const { return Floats(held_ * cols); }
  uint64_t Copies(uint64_t rows) const { return Floats(std::min(rows, held_) * config_.hidden_size); }

  // BiLLM's work on the largest reader of a step: weights, a copy and codes, saliencies of a block that are sorted,
  // the tiles and counts of each thread.
  uint64_t WholeMatrix(const LayerStep& step, const WeightSpec& spec) const {
    uint64_t rows = 0;
    for (const std::string& reader : step.readers)
      rows = std::max<uint64_t>(rows, layout_.Linear(reader).out);
    rows = (rows + kLanes - 1) / kLanes * kLanes;
    const uint64_t block = spec.GroupSizeFor(step.width);
    return rows * step.width * (2 * sizeof(float) + 1) + 2 * rows * block * sizeof(double) +
           threads_ * (block * kLanes * (sizeof(double) + sizeof(float)) + kCounts);
  }

  uint64_t StoredOf(const LayerStep& step) const {
    uint64_t bytes = 0;
    for (const std::string& reader : step.readers) {
      const LinearSpec& linear = layout_.Linear(reader);
      bytes += uint64_t{linear.out} * linear.in * sizeof(uint16_t);
    }
    return bytes;
  }

  uint64_t Prepared(const LayerStep& step) const {
    uint64_t bytes = 0;
    for (const std::string& reader : step.readers) {
      bytes += job_.backend.PreparedBytes(layout_.Linear(reader).out, step.width);
    }
    return bytes;
  }

  // Rows between the steps before and after one.
  uint64_t BeforeOf(const LayerStep& step) const {
    if (layout_.experts && step.kind == LayerStep::Kind::kMlpIn) return Mixture();
    switch (step.kind) {
      case LayerStep::Kind::kAttnOut:
        return Rows(config_.QuerySize());
      case LayerStep::Kind::kMlpMid:
        return layout_.experts ? Mixture() : Rows(config_.intermediate_size);
      default:
        return 0;
    }
  }
  uint64_t AfterOf(const LayerStep& step) const {
    if (step.kind == LayerStep::Kind::kAttnIn) return Rows(config_.QuerySize());
    if (step.kind == LayerStep::Kind::kAttnOut) return BeforeOf(step);
    return layout_.experts ? Mixture() : Rows(config_.intermediate_size);
  }
  // Normed rows, which are in memory whatever the plan, and what one expert makes of all of them at worst.
  uint64_t Mixture() const {
    return Floats(rows_ * (config_.hidden_size + config_.moe_intermediate_size + layout_.experts->count));
  }

  // A group of sequences inside attention.
  uint64_t Group() const {
    return Floats(group_ * (config_.hidden_size + config_.QuerySize() + 2 * config_.KeyValueSize()));
  }
  uint64_t Attention() const {
    const uint64_t padded = group_ + kTile * (group_ / longest_ + 1);
    return Floats(padded * 2 * config_.KeyValueSize() +
                  threads_ * 2 * kTile * (longest_ + kTile + 2 * config_.head_dim));
  }

  // Collecting what a step's readers see, the sums themselves apart.
  uint64_t InputsOf(const LayerStep& step, GramPart part) const {
    const uint64_t columns = part == GramPart::kDiagonal ? kGramBlock : step.width;
    const uint64_t chunk = 2 * Floats(kGramRows * columns);
    const uint64_t chunks =
        std::min({kGramChunks, kGramFactors / chunk + 1, (longest_ + kGramRows - 1) / kGramRows});
    return BeforeOf(step) + Group() + (part == GramPart::kNone ? 0 : chunks * chunk);
  }

  uint64_t Advance(const LayerStep& step) const {
    const uint64_t inside = step.kind == LayerStep::Kind::kAttnIn ? Attention() : 0;
    return AfterOf(step) + Group() + inside + Prepared(step) + 2 * threads_ * Floats(kTile * kPanel);
  }

  const QuantizeJob& job_;
  const ModelConfig& config_;
  const LayerLayout& layout_;
  uint64_t threads_, rows_, held_, longest_, group_;
  std::vector<LayerStep> steps_;
};

// A layer of a sweep: the full-precision pass, then recipe by recipe, each measured on held-out rows in the end.
uint64_t LayerPeak(const LayerMemory& layer, std::span<const Recipe* const> recipes,
                   const CalibrationSet& calibration, uint64_t measuring, bool saves_statistics) {
  GramPart part = saves_statistics ? GramPart::kFull : GramPart::kNone;
  uint64_t inputs = 0, outputs = 0;  // rows of what modules read and put out
  bool any_float = saves_statistics;
  for (const Recipe* recipe : recipes) {
    part = std::max(part, GramOf(*recipe));
    any_float |= LearnsFromFloat(*recipe);
    if (recipe->awq && recipe->awq->loss == AwqLoss::kBlock) {
      const uint64_t all = calibration.sequences.size(), samples = recipe->awq->samples;
      outputs = std::max(outputs, (samples > 0 ? samples : all) * calibration.spec.length);
    }
    if (recipe->awq && recipe->awq->loss == AwqLoss::kHessianRows) inputs = calibration.Tokens();
  }
  inputs = std::max(inputs, outputs);
  uint64_t most = any_float ? layer.FloatPass(part, inputs, outputs) : 0;
  for (const Recipe* recipe : recipes) {
    const uint64_t held = layer.Stored() + (LearnsFromFloat(*recipe) ? layer.Record(part, outputs) : 0) +
                          (recipe->Rescales() ? layer.LayerFloats() : 0);
    if (recipe->awq) most = std::max(most, held + layer.Search(*recipe));
    if (HasOwnStream(*recipe)) most = std::max(most, held + layer.OwnPass(*recipe));
    if (LearnsFromFloat(*recipe) || measuring > 0) most = std::max(most, held + measuring);
  }
  return most;
}

// A recipe's file is on its way to the disk while the next is made, of whichever recipe.
uint64_t PackedBytes(const QuantizeJob& job, std::span<const Recipe* const> recipes) {
  uint64_t most = 0;
  for (const Recipe* recipe : recipes) {
    for (const PlannedFile& file : PlanFiles(job.model, *recipe)) most = std::max(most, file.Bytes());
  }
  return 2 * most;
}

uint64_t LargestStoredMatrix(const QuantizeJob& job, std::span<const Recipe* const> recipes) {
  uint64_t most = 0;
  for (const Recipe* recipe : recipes) {
    for (const PlannedFile& file : PlanFiles(job.model, *recipe)) {
      for (const PlannedMatrix& m : file.matrices) {
        most = std::max<uint64_t>(most, job.model.checkpoint().Get(m.name).bytes.size());
      }
    }
  }
  return most;
}

}  // namespace

GramPart GramOf(const Recipe& recipe) {
  if (recipe.awq) return GramPart::kFull;
  return LearnsFromFloat(recipe) ? GramPart::kDiagonal : GramPart::kNone;
}

bool LearnsFromFloat(const Recipe& recipe) {
  return recipe.Rescales() || FindMethod(recipe.method)->Learns(recipe) == Stream::kFloat;
}

bool HasOwnStream(const Recipe& recipe) {
  const Stream learns = FindMethod(recipe.method)->Learns(recipe);
  return learns == Stream::kOwn || learns == Stream::kOwnLayers;
}

uint64_t SweepBytes(const QuantizeJob& job, std::span<const Recipe* const> recipes, bool in_file,
                    bool saves_statistics) {
  uint64_t fixed = kLibraries + PackedBytes(job, recipes);
  HeldOutStream::Memory held_out;
  if (job.calibration != nullptr) held_out = HeldOutStream::Bytes(job.model, *job.calibration, job.backend);
  fixed += held_out.held;
  uint64_t streams = 0;
  bool any_float = saves_statistics;
  for (const Recipe* recipe : recipes) {
    streams += HasOwnStream(*recipe) ? 1 : 0;
    any_float |= LearnsFromFloat(*recipe);
  }
  streams += any_float ? 1 : 0;
  const uint64_t rounding = LargestStoredMatrix(job, recipes);
  if (job.calibration == nullptr) return fixed + rounding;
  const uint64_t rows = job.calibration->Tokens();
  const uint64_t group = std::max<uint64_t>(kRowsPerGroup, job.calibration->spec.length);
  const uint64_t held = in_file ? std::min(rows, group) : rows;
  uint64_t layers = rounding;
  for (const LayerLayout& layout : job.model.layout().layers) {
    layers = std::max(layers, LayerPeak(LayerMemory(job, layout, rows, held), recipes, *job.calibration,
                                        held_out.working, saves_statistics));
  }
  return fixed + streams * CalibrationStream::RowBytes(job.model.config(), held) + layers;
}

}  // namespace lowbit
