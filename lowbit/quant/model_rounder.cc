// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/model_rounder.h"

#include <algorithm>
#include <bit>

namespace lowbit {
namespace {

constexpr size_t kWeightsPerPiece = size_t{1} << 16;  // converted by one call of a worker
constexpr size_t kWeightsPerBlock = size_t{1} << 24;  // of the head: 64 MiB as f32

// No branch inside, so that the compiler makes vector code of it.
bool AllFinite(std::span<const float> values) {
  constexpr uint32_t kExponent = 0x7F800000;
  uint32_t bad = 0;
  for (const float v : values) bad |= (std::bit_cast<uint32_t>(v) & kExponent) == kExponent ? 1u : 0u;
  return bad == 0;
}

std::string WeightName(size_t layer, const std::string& linear) {
  return ModelLayout::LayerPrefix(layer) + linear + ".weight";
}

}  // namespace

uint64_t PlannedFile::Bytes() const {
  const uint64_t per_group = SizeOf(spec.scale_type) * (spec.bits == 1 ? 2 : 1) + (spec.symmetric ? 0 : 1);
  uint64_t bytes = 0;
  for (const PlannedMatrix& m : matrices) {
    const size_t row_bytes = (m.cols * static_cast<size_t>(spec.bits) + 7) / 8,
                 group = spec.GroupSizeFor(m.cols);
    bytes += m.rows * (row_bytes + (m.cols + group - 1) / group * per_group);
  }
  return bytes;
}

bool PlannedFile::Describes(const PackedTensors& tensors) const {
  const auto is_there = [&](const PlannedMatrix& m) {
    const auto it = tensors.find(m.name);
    return it != tensors.end() && it->second.rows == m.rows && it->second.cols == m.cols &&
           it->second.format == FormatOf(spec) && it->second.bits == spec.bits &&
           it->second.symmetric == spec.symmetric && it->second.scale_type == spec.scale_type &&
           it->second.group_size == spec.GroupSizeFor(m.cols);
  };
  return tensors.size() == matrices.size() && std::ranges::all_of(matrices, is_there);
}

std::vector<PlannedFile> PlanFiles(const CheckpointSource& model, const Recipe& recipe) {
  std::vector<PlannedFile> files;
  const ModelLayout& layout = model.layout();
  for (size_t l = 0; l < layout.layers.size(); ++l) {
    PlannedFile& file = files.emplace_back(PlannedFile{LayerFileName(l), recipe.weights, {}});
    for (const LinearSpec& linear : layout.layers[l].linears) {
      file.matrices.push_back({WeightName(l, linear.name), linear.out, linear.in});
    }
  }
  if (!recipe.head) return files;
  PlannedFile& head = files.emplace_back(PlannedFile{std::string(kHeadFileName), *recipe.head, {}});
  const size_t rows = model.config().vocab_size, cols = model.config().hidden_size;
  head.matrices.push_back({layout.embedding, rows, cols});
  if (layout.head != layout.embedding) head.matrices.push_back({layout.head, rows, cols});
  return files;
}

ModelRounder::ModelRounder(const CheckpointSource& model, const Recipe& recipe, const Threads& threads)
    : model_(model),
      recipe_(recipe),
      method_(*FindMethod(recipe.method)),
      threads_(threads),
      files_(PlanFiles(model, recipe)) {}

PackedTensors ModelRounder::Round(size_t index, PackedTensors kept) {
  const std::vector<LayerLayout>& layers = model_.layout().layers;
  if (index < layers.size()) {
    for (const Stage& stage : layers[index].stages) RoundStage(index, stage, kept);
  } else {
    for (const PlannedMatrix& matrix : files_[index].matrices)
      RoundInBlocks(matrix, files_[index].spec, kept);
  }
  return kept;
}

// Puts the stage's tensors into `packed`, unless they are there.
void ModelRounder::RoundStage(size_t layer, const Stage& stage, PackedTensors& packed) {
  std::vector<LinearSpec> linears;
  std::vector<std::string> names;
  size_t count = 0;
  for (const std::string& reader : stage.readers) {
    linears.push_back(model_.layout().layers[layer].Linear(reader));
    names.push_back(WeightName(layer, reader));
    count += linears.back().out * linears.back().in;
  }
  std::vector<MatView<const float>> weights;
  std::span<float> left = Scratch(count);
  for (size_t i = 0; i < linears.size(); ++i) {
    const std::span<float> own = left.first(linears[i].out * linears[i].in);
    left = left.subspan(own.size());
    Load(names[i], 0, own);
    weights.emplace_back(own.data(), linears[i].out, linears[i].in);
  }

  if (!packed.contains(names[0])) {
    std::vector<PackedTensor> rounded = method_.Round(
        {stage, linears, weights, names, model_.checkpoint().folder(), recipe_.weights, threads_});
    for (size_t i = 0; i < names.size(); ++i) packed[names[i]] = std::move(rounded[i]);
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const PackedTensor& p = packed.at(names[i]);
    Count(names[i], p, MeasureError(weights[i], p, 0, threads_));
  }
}

// For embedding and head, which may be larger than a layer. They are rounded to nearest whatever the method:
// no stage says what they read.
void ModelRounder::RoundInBlocks(const PlannedMatrix& matrix, const WeightSpec& spec, PackedTensors& packed) {
  const auto [entry, is_new] = packed.try_emplace(matrix.name);
  PackedTensor& p = entry->second;
  if (is_new) p = MakePacked(matrix.rows, matrix.cols, spec);
  const Place place = Place(model_.checkpoint().folder()).Tensor(matrix.name);
  const size_t step = std::max<size_t>(1, kWeightsPerBlock / matrix.cols);
  RoundingError error;
  for (size_t first = 0; first < matrix.rows; first += step) {
    const size_t rows = std::min(step, matrix.rows - first);
    const std::span<float> block = Scratch(rows * matrix.cols);
    Load(matrix.name, first * matrix.cols, block);
    const MatView<const float> weights(block.data(), rows, matrix.cols);
    if (is_new) RoundRows(weights, spec, first, place, threads_, p);
    error += MeasureError(weights, p, first, threads_);
  }
  Count(matrix.name, p, error);
}

// Elements [first, first + out.size()) of a tensor. Throws Error{kNumeric} unless they are finite.
void ModelRounder::Load(const std::string& name, size_t first, std::span<float> out) const {
  const TensorView tensor = model_.checkpoint().Get(name);
  threads_.For((out.size() + kWeightsPerPiece - 1) / kWeightsPerPiece, [&](size_t piece) {
    const size_t begin = piece * kWeightsPerPiece;
    const std::span<float> part = out.subspan(begin, std::min(kWeightsPerPiece, out.size() - begin));
    CopyToFloat(tensor, first + begin, part);
    if (!AllFinite(part)) RequireFinite(tensor, name, model_.checkpoint().FileOf(name).path());
  });
}

// Memory for weights in f32, kept from stage to stage: fresh memory costs more than rounding does.
std::span<float> ModelRounder::Scratch(size_t count) {
  if (scratch_.size() < count) scratch_ = Buffer<float>(count);
  return std::span<float>(scratch_).first(count);
}

void ModelRounder::Count(const std::string& name, const PackedTensor& packed, const RoundingError& error) {
  rounded_.insert(name);
  weights_ += static_cast<uint64_t>(packed.rows) * packed.cols;
  bits_ += packed.StoredBits();
  error_ += error;
}

void ModelRounder::Describe(ArtefactInfo& info) const {
  info.quantized_weights = weights_;
  info.quantized_bits = bits_;
  info.relative_error = error_.Relative();
  info.model_weights = 0;
  info.model_bits = bits_;
  for (const ExpectedTensor& tensor : ExpectedTensors(model_.config())) {  // a tied head is not among them
    const uint64_t count = ElementCount(tensor.shape);
    info.model_weights += count;
    if (!rounded_.contains(tensor.name))
      info.model_bits += count * 8 * SizeOf(model_.checkpoint().Get(tensor.name).type);
  }
}

}  // namespace lowbit
