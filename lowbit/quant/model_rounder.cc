// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/model_rounder.h"

#include <algorithm>
#include <bit>

#include "lowbit/base/hash.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/quant/gptq.h"
#include "lowbit/quant/rules.h"

namespace lowbit {
namespace {

constexpr size_t kWeightsPerPiece = size_t{1} << 16;  // handled by one call of a worker

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

uint64_t PlannedMatrix::Bytes() const {
  const size_t group = spec.GroupSizeFor(cols), groups = (cols + group - 1) / group;
  if (spec.planes) {
    return rows * ((2 * cols + 7) / 8 + groups * kPlaneScalars * SizeOf(spec.scale_type)) + (cols + 7) / 8;
  }
  const uint64_t per_group = SizeOf(spec.scale_type) * (spec.bits == 1 ? 2 : 1) + (spec.symmetric ? 0 : 1);
  const size_t row_bytes = (cols * static_cast<size_t>(spec.bits) + 7) / 8;
  return rows * (row_bytes + groups * per_group);
}

uint64_t PlannedFile::Bytes() const {
  uint64_t bytes = 0;
  for (const PlannedMatrix& m : matrices) bytes += m.Bytes();
  return bytes;
}

bool PlannedFile::Describes(const PackedTensors& tensors) const {
  const auto is_there = [&](const PlannedMatrix& m) {
    const auto it = tensors.find(m.name);
    return it != tensors.end() && it->second.rows == m.rows && it->second.cols == m.cols &&
           it->second.format == FormatOf(m.spec) && (m.spec.planes || it->second.bits == m.spec.bits) &&
           it->second.symmetric == m.spec.symmetric && it->second.scale_type == m.spec.scale_type &&
           it->second.group_size == m.spec.GroupSizeFor(m.cols) &&
           it->second.input.rotation == m.spec.InputFor(m.cols).rotation &&
           it->second.input.bits == m.spec.input_bits &&
           (it->second.input.scale > 0) == (m.spec.FixedInputScale(1) > 0);
  };
  return tensors.size() == matrices.size() && std::ranges::all_of(matrices, is_there);
}

std::vector<PlannedFile> PlanFiles(const CheckpointSource& model, const Recipe& recipe) {
  std::vector<PlannedFile> files;
  const ModelLayout& layout = model.layout();
  RequireRules(recipe, layout);
  for (size_t l = 0; l < layout.layers.size(); ++l) {
    PlannedFile& file = files.emplace_back(PlannedFile{LayerFileName(l), {}});
    for (const LinearSpec& linear : layout.layers[l].linears) {
      const std::optional<WeightSpec> spec = recipe.WeightsOf(l, linear.name);
      if (spec) file.matrices.push_back({WeightName(l, linear.name), linear.out, linear.in, *spec});
    }
  }
  if (!recipe.head) return files;
  PlannedFile& head = files.emplace_back(PlannedFile{std::string(kHeadFileName), {}});
  const size_t rows = model.config().vocab_size, cols = model.config().hidden_size;
  head.matrices.push_back({layout.embedding, rows, cols, *recipe.head});
  if (layout.head != layout.embedding) head.matrices.push_back({layout.head, rows, cols, *recipe.head});
  return files;
}

ModelRounder::ModelRounder(const CheckpointSource& model, const Recipe& recipe, const Threads& threads)
    : model_(model),
      recipe_(recipe),
      method_(*FindMethod(recipe.method)),
      threads_(threads),
      files_(PlanFiles(model, recipe)) {}

const Method& ModelRounder::MethodOf(size_t index) const {
  return index < model_.layout().layers.size() ? method_ : *FindMethod("rtn");
}

const PlannedMatrix* ModelRounder::FindMatrix(size_t layer, const std::string& linear) const {
  const std::string name = WeightName(layer, linear);
  const auto matrix = std::ranges::find(files_[layer].matrices, name, &PlannedMatrix::name);
  return matrix == files_[layer].matrices.end() ? nullptr : &*matrix;
}

void ModelRounder::RoundOne(size_t index, const PlannedMatrix& matrix, const RoundContext* context,
                            bool is_new, PackedTensor& packed, const Matrix* rescaled, float largest_input) {
  const RoundingError error =
      RoundMatrix(matrix, MethodOf(index), context, rescaled, largest_input, is_new, packed);
  Count(matrix.name, packed, error);
  model_.checkpoint().Release(matrix.name);
}

// Some rows at a time are converted, rounded and measured while they are in a core's cache.
RoundingError ModelRounder::RoundMatrix(const PlannedMatrix& matrix, const Method& method,
                                        const RoundContext* context, const Matrix* rescaled,
                                        float largest_input, bool is_new, PackedTensor& packed) const {
  static const Threads serial(1);
  const std::string& source = model_.checkpoint().folder();
  const auto job = [&](MatView<const float> weights, size_t first) {
    return RoundJob{weights, first, matrix.name, source, recipe_, matrix.spec, serial, context};
  };
  if (is_new) {
    packed = method.Make(matrix.rows, matrix.cols, job({}, 0));
    packed.input.scale = matrix.spec.FixedInputScale(largest_input);
  }
  const size_t rotation = matrix.spec.InputFor(matrix.cols).rotation;
  const bool is_whole = method.Info().whole_matrix;
  LOWBIT_ASSERT(!is_whole || (rescaled == nullptr && rotation == 0));
  if (is_new && is_whole) RoundWhole(matrix, method, context, packed);
  const size_t unit = context == nullptr ? 1 : kGptqRows;  // GPTQ works on as many rows side by side
  const size_t step = (std::max<size_t>(1, kWeightsPerPiece / matrix.cols) + unit - 1) / unit * unit;
  std::vector<RoundingError> errors((matrix.rows + step - 1) / step);
  std::vector<Buffer<float>> scratch(static_cast<size_t>(threads_.count()));
  threads_.ForSlots(errors.size(), [&](size_t piece, size_t slot) {
    const size_t first = piece * step, rows = std::min(step, matrix.rows - first);
    MatView<const float> weights;
    if (rescaled != nullptr && rotation == 0) {
      weights = rescaled->view().Rows(first, rows);
    } else {
      if (scratch[slot].size() == 0) scratch[slot] = Buffer<float>(step * matrix.cols);
      const std::span<float> part = std::span<float>(scratch[slot]).first(rows * matrix.cols);
      if (rescaled == nullptr) {
        Load(matrix.name, first * matrix.cols, part);
      } else {
        std::copy_n(rescaled->view().Row(first), part.size(), part.data());
      }
      for (size_t r = 0; rotation > 0 && r < rows; ++r)
        RotateRow(part.subspan(r * matrix.cols, matrix.cols), rotation);
      weights = {part.data(), rows, matrix.cols};
    }
    if (is_new && !is_whole) method.Round(job(weights, first), packed);
    errors[piece] = MeasureError(weights, packed, first, serial);
  });
  RoundingError total;
  for (const RoundingError& error : errors) total += error;
  return total;
}

// A matrix that a method must see as a whole; its threads are the method's.
void ModelRounder::RoundWhole(const PlannedMatrix& matrix, const Method& method, const RoundContext* context,
                              PackedTensor& packed) const {
  Matrix weights(matrix.rows, matrix.cols);
  const size_t step = std::max<size_t>(1, kWeightsPerPiece / matrix.cols);
  threads_.For((matrix.rows + step - 1) / step, [&](size_t piece) {
    const MatView<float> part = weights.view().Rows(piece * step, std::min(step, matrix.rows - piece * step));
    Load(matrix.name, piece * step * matrix.cols, std::span(part.data, part.rows * part.cols));
  });
  const std::string& source = model_.checkpoint().folder();
  method.Round({weights.view(), 0, matrix.name, source, recipe_, matrix.spec, threads_, context}, packed);
}

// Elements [first, first + out.size()) of a tensor. Throws Error{kNumeric} unless they are finite.
void ModelRounder::Load(const std::string& name, size_t first, std::span<float> out) const {
  const TensorView tensor = model_.checkpoint().Get(name);
  CopyToFloat(tensor, first, out);
  if (!AllFinite(out)) RequireFinite(tensor, name, model_.checkpoint().FileOf(name).path());
}

double ModelRounder::ProbeSeconds() {
  const auto file = std::ranges::find_if(files_, [](const PlannedFile& f) { return !f.matrices.empty(); });
  const PlannedMatrix& first = file->matrices[0];  // RequireRules: there is one
  PackedTensor packed = MakePacked(first.rows, first.cols, first.spec);
  const double round =
      SecondsOf([&] { RoundMatrix(first, *FindMethod("rtn"), nullptr, nullptr, 1, true, packed); });
  const TensorView tensor = model_.checkpoint().Get(first.name);
  const double hash = LeastSecondsOf([&] {
    threads_.For(static_cast<size_t>(threads_.count()), [&](size_t) {
      Sha256 one;
      one.Update(tensor.bytes);
    });
  });
  uint64_t weights = 0, written = 0;
  for (const PlannedFile& each : files_) {
    written += each.Bytes();
    for (const PlannedMatrix& m : each.matrices) weights += uint64_t{m.rows} * m.cols;
  }
  const double per_weight = round / static_cast<double>(first.rows * first.cols);
  const double per_byte = hash / static_cast<double>(tensor.bytes.size());  // on every thread at once
  return static_cast<double>(weights) * per_weight + static_cast<double>(written) * per_byte;
}

void ModelRounder::Count(const std::string& name, const PackedTensor& packed, const RoundingError& error) {
  rounded_.insert(name);
  weights_ += static_cast<uint64_t>(packed.rows) * packed.cols;
  bits_ += packed.StoredBits();
  code_bits_ += packed.CodeBits();
  has_planes_ |= packed.format == PackFormat::kPlanes;
  error_ += error;
}

void ModelRounder::Describe(ArtefactInfo& info) const {
  info.quantized_weights = weights_;
  info.quantized_bits = bits_;
  info.code_bits = has_planes_ ? code_bits_ : 0;
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
