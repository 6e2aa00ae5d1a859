// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/output_error.h"

#include <algorithm>
#include <cmath>

#include "lowbit/model/token_rows.h"
#include "lowbit/quant/row_loops.h"
#include "lowbit/quant/squared_distance.h"
#include "lowbit/tensor/dense_view.h"

namespace lowbit {
namespace {

constexpr size_t kRowsAtOnce = 512;  // of a weight matrix, as one product

Matrix CopyOf(MatView<const float> from) {
  Matrix copy(from.rows, from.cols);
  for (size_t t = 0; t < from.rows; ++t) std::ranges::copy(from.RowSpan(t), copy.view().Row(t));
  return copy;
}

// What a row of a rounded linear amounts to for a reader of the original inputs whose outputs nobody divides: the
// scales of its columns taken out again, that of the row put back.
class Unscale {
 public:
  Unscale(const LayerLayout& layout, size_t head_dim, const LayerStep& step, const std::string& linear,
          const ScalesByTap& scales) {
    // Experts read the same norm: where they have no scales of their own, they share them.
    const auto own = scales.find(step.tap), shared = scales.find(step.tap.substr(0, step.tap.find('.')));
    if (own != scales.end() || shared != scales.end()) {
      columns_ = own != scales.end() ? own->second : shared->second;
      LOWBIT_ASSERT(columns_.size() == step.width);
    }
    for (const Stage& stage : layout.stages) {
      const auto found = scales.find(stage.name);
      if (stage.producer == linear && found != scales.end()) rows_ = found->second;
    }
    if (rows_.empty()) return;
    const size_t out = layout.Linear(linear).out;
    LOWBIT_ASSERT(rows_.size() % out == 0);
    heads_ = rows_.size() / out;
    if (heads_ > 1) head_dim_ = head_dim;
  }

  void Apply(size_t r, std::span<float> row) const {
    if (!rows_.empty()) {
      const float by = rows_[r / head_dim_ * head_dim_ * heads_ + r % head_dim_];
      for (float& v : row) v *= by;
    }
    for (size_t j = 0; j < columns_.size(); ++j) row[j] /= columns_[j];
  }

  // What the inputs were divided by; empty: nothing.
  std::span<const float> columns() const { return columns_; }

 private:
  std::span<const float> columns_, rows_;
  size_t heads_ = 1;  // query heads that read one key/value head: they have the same scales
  size_t head_dim_ = 1;
};

std::string TensorOf(size_t layer, const std::string& linear) {
  return ModelLayout::LayerPrefix(layer) + linear + ".weight";
}

// Puts error / whole under `name`; nothing where there is nothing to compare with.
void AddRelative(const std::string& name, double error, double whole, const Place& place,
                 OutputErrors& errors) {
  if (!std::isfinite(error) || !std::isfinite(whole)) {
    throw Error(
        ErrorKind::kNumeric, place,
        fmt::format("its output error on held-out rows is {} of {}, expected finite numbers", error, whole));
  }
  if (whole > 0) errors.relative[name] = error / whole;
}

}  // namespace

std::string HeldOutKey(const CalibrationSet& set, Compute compute) {
  return fmt::format("held out v1 sequences={} sha256={} compute={}", set.held_out.size(), set.held_out_hash,
                     Name(compute));
}

std::string WithoutExpert(const std::string& linear) {
  constexpr std::string_view kExperts = "mlp.experts.";
  if (!linear.starts_with(kExperts)) return linear;
  return std::string(kExperts) + linear.substr(linear.find('.', kExperts.size()) + 1);
}

HeldOutStream::HeldOutStream(const LayerSource& model, const CalibrationSet& set, const Backend& backend)
    : model_(model), backend_(backend), key_(HeldOutKey(set, backend.compute())) {
  LOWBIT_ASSERT(!set.held_out.empty());
  size_t rows = 0, longest = 0;
  for (const TokenIds& ids : set.held_out) {
    sequences_.push_back({rows, rows + ids.size(), 0});
    rows += ids.size();
    longest = std::max(longest, ids.size());
  }
  rope_ = MakeRopeTable(model.config(), longest);
  x_ = std::make_unique<Activations>(rows, model.config().hidden_size);
  const MatView<float> x = x_->Load(0, rows, true);
  TokenRows tokens(model);
  for (size_t i = 0; i < sequences_.size(); ++i) {
    RequireInVocabulary(set.held_out[i], model.config().vocab_size, "the held-out tokens");
    tokens.LookUp(set.held_out[i], x.Rows(sequences_[i].begin, set.held_out[i].size()));
  }
  x_->Store();
}

StagedLayer::Job HeldOutStream::Job() const {
  return {model_.config(), layout(), backend_, rope_, sequences_};
}

void HeldOutStream::Advance(size_t index, const LayerWeights& weights) {
  index_ = index;
  inputs_.clear();
  outputs_.clear();
  before_ = CopyOf(x_->Load(0, x_->rows()));
  const StagedLayer::Job job = Job();
  StagedLayer layer(job, weights, *x_);
  for (const LayerStep& step : StepsOf(layout())) {
    std::vector<float> rows;
    layer.Inputs(step, [&](MatView<const float> some) {
      for (size_t t = 0; t < some.rows; ++t) rows.insert(rows.end(), some.Row(t), some.Row(t) + some.cols);
    });
    Matrix& x = inputs_[step.tap] = CopyOf({rows.data(), rows.size() / step.width, step.width});
    for (const std::string& reader : step.readers) {
      const Weight& weight = weights.linears.find(reader)->second;
      outputs_[reader] = SquaredProducts(x.view(), Rows(weight),
                                         [&](size_t r, MatView<float> row) { RowsToFloat(weight, r, row); });
    }
    layer.Advance(step, [&](const std::string& name) { return weights.linears.find(name)->second; });
  }
  change_ = SquaredDistance(x_->Load(0, x_->rows()), before_.view(), backend_.threads());
  if (std::isfinite(change_)) return;
  throw Error(ErrorKind::kNumeric, Place().Item(fmt::format("layer {}", index)),
              "its output for the held-out tokens holds NaN or infinite values");
}

double HeldOutStream::SquaredProducts(MatView<const float> x, size_t rows, const FillRow& fill) const {
  if (x.rows == 0) return 0;
  const Threads& threads = backend_.threads();
  std::vector<double> of_rows(x.rows);  // added in order at the end
  Matrix products(x.rows, std::min(kRowsAtOnce, rows));
  for (size_t first = 0; first < rows; first += kRowsAtOnce) {
    const size_t count = std::min(kRowsAtOnce, rows - first);
    Matrix part(count, x.cols);
    threads.For(count, [&](size_t r) { fill(first + r, part.view().Rows(r, 1)); });
    const auto prepared = backend_.Prepare(DenseView(part.view()), Compute::kF32);
    const MatView<float> y(products.data(), x.rows, count);
    backend_.Gemm(x, *prepared, {}, y);
    threads.For(x.rows, [&](size_t t) { of_rows[t] += Loops().squares(y.Row(t), count); });
  }
  double sum = 0;
  for (const double row : of_rows) sum += row;
  return sum;
}

// ‖X (W - Ŵ)ᵀ‖², Ŵ as it acts on the inputs of W.
double HeldOutStream::LinearError(const LayerStep& step, const std::string& linear,
                                  const LayerWeights& weights, const LayerPatch& patch,
                                  const ScalesByTap& scales) const {
  const Unscale unscale(layout(), model_.config().head_dim, step, linear, scales);
  const Weight& weight = weights.linears.find(linear)->second;
  const auto found = patch.packed.find(TensorOf(index_, linear));
  if (found == patch.packed.end()) return 0;  // kept as it is
  const PackedTensor& packed = found->second;
  return SquaredProducts(inputs_.find(step.tap)->second.view(), packed.rows,
                         [&](size_t r, MatView<float> row) {
                           Matrix original(1, packed.cols);
                           RowsToFloat(weight, r, original.view());
                           Dequantize(packed, r, row);
                           if (packed.input.rotation > 0) RotateRow(row.RowSpan(0), packed.input.rotation);
                           unscale.Apply(r, row.RowSpan(0));
                           for (size_t j = 0; j < packed.cols; ++j) row.Row(0)[j] -= original.data()[j];
                         });
}

// Of one linear, or of all experts' of one name.
struct HeldOutStream::InputSums {
  double error = 0, output = 0;
  float largest = 0;
  double peaks = 0;
  size_t rows = 0;

  void AddRange(std::span<const float> largest_of_rows, std::span<const double> peak_of_rows) {
    for (size_t t = 0; t < peak_of_rows.size(); ++t) {
      if (largest_of_rows[t] == 0) continue;
      largest = std::max(largest, largest_of_rows[t]);
      peaks += peak_of_rows[t];
      ++rows;
    }
  }
  InputRange Range() const {
    return {static_cast<double>(largest), rows == 0 ? 0.0 : peaks / static_cast<double>(rows)};
  }
};

// ‖(X - X̂) Wᵀ‖², X̂ the inputs as the packed matrix takes them, and what these span.
void HeldOutStream::AddInputs(const LayerStep& step, const std::string& linear, const Weight& weight,
                              const PackedTensor& packed, const ScalesByTap& scales, InputSums& sums) const {
  const Unscale unscale(layout(), model_.config().head_dim, step, linear, scales);
  const MatView<const float> x = inputs_.find(step.tap)->second.view();
  const InputForm& form = packed.input;
  Matrix lost(x.rows, x.cols);
  std::vector<float> largest(x.rows);
  std::vector<double> peak(x.rows);
  backend_.threads().For(x.rows, [&](size_t t) {
    const std::span<float> row = lost.view().RowSpan(t);
    std::ranges::copy(x.RowSpan(t), row.begin());
    for (size_t j = 0; j < unscale.columns().size(); ++j) row[j] /= unscale.columns()[j];
    if (form.rotation > 0) RotateRow(row, form.rotation);
    for (const float value : row) largest[t] = std::max(largest[t], std::abs(value));
    const double mean_square = Loops().squares(row.data(), row.size()) / static_cast<double>(row.size());
    peak[t] = static_cast<double>(largest[t]) / std::sqrt(mean_square);
    std::vector<int8_t> integers(row.size());
    const float scale = RoundInputs(row, form.bits, form.scale, integers);
    for (size_t j = 0; j < row.size(); ++j) row[j] = scale * static_cast<float>(integers[j]);
    if (form.rotation > 0) RotateRow(row, form.rotation);
    for (size_t j = 0; j < unscale.columns().size(); ++j) row[j] *= unscale.columns()[j];
    for (size_t j = 0; j < row.size(); ++j) row[j] = x.Row(t)[j] - row[j];
  });
  sums.error += SquaredProducts(lost.view(), packed.rows,
                                [&](size_t r, MatView<float> row) { RowsToFloat(weight, r, row); });
  sums.output += outputs_.find(linear)->second;
  sums.AddRange(largest, peak);
}

// ‖y - ŷ‖² of the layer's output.
double HeldOutStream::LayerError(const LayerWeights& weights, const LayerPatch& patch) const {
  LayerWeights base = weights;
  ReplaceVectors(patch.vectors, ModelLayout::LayerPrefix(index_), base);
  Activations x(x_->rows(), x_->cols());
  const MatView<float> input = x.Load(0, x.rows(), true);
  for (size_t t = 0; t < input.rows; ++t) std::ranges::copy(before_.view().RowSpan(t), input.Row(t));
  x.Store();
  const StagedLayer::Job job = Job();
  StagedLayer layer(job, base, x);
  for (const LayerStep& step : StepsOf(layout())) {
    layer.Advance(step, [&](const std::string& name) -> Weight {
      const auto packed = patch.packed.find(TensorOf(index_, name));
      if (packed == patch.packed.end()) return base.linears.find(name)->second;
      return std::shared_ptr<const PackedTensor>(std::shared_ptr<void>(),
                                                 &packed->second);  // lent by `patch`
    });
  }
  return SquaredDistance(x.Load(0, x.rows()), x_->Load(0, x_->rows()), backend_.threads());
}

OutputErrors HeldOutStream::Measure(const LayerWeights& weights, const LayerPatch& patch,
                                    const ScalesByTap& scales) const {
  struct Sums {
    double error = 0, output = 0;
  };
  std::map<std::string, Sums> linears;
  std::map<std::string, InputSums> inputs;
  for (const LayerStep& step : StepsOf(layout())) {
    for (const std::string& reader : step.readers) {
      Sums& sums = linears[WithoutExpert(reader)];
      sums.error += LinearError(step, reader, weights, patch, scales);
      sums.output += outputs_.find(reader)->second;
      const auto packed = patch.packed.find(TensorOf(index_, reader));
      if (packed == patch.packed.end() || packed->second.input.bits == 0) continue;
      const Weight& weight = weights.linears.find(reader)->second;
      AddInputs(step, reader, weight, packed->second, scales, inputs[WithoutExpert(reader)]);
    }
  }
  OutputErrors errors{key_, {}};
  const Place place = Place().Item(fmt::format("layer {}", index_));
  for (const auto& [name, sums] : linears)
    AddRelative(name, sums.error, sums.output, place.Item(name), errors);
  for (const auto& [linear, sums] : inputs) {
    const std::string name = linear + std::string(kOfInputs);
    AddRelative(name, sums.error, sums.output, place.Item(name), errors);
    errors.inputs[linear] = sums.Range();
  }
  AddRelative(std::string(kWholeLayer), LayerError(weights, patch), change_, place, errors);
  return errors;
}

HeldOutStream::Memory HeldOutStream::Bytes(const LayerSource& model, const CalibrationSet& set,
                                           const Backend& backend) {
  if (set.held_out.empty()) return {};
  uint64_t rows = 0;
  for (const TokenIds& ids : set.held_out) rows += ids.size();
  const ModelConfig& c = model.config();
  Memory memory;
  for (const LayerLayout& layout : model.layout().layers) {
    uint64_t inputs = 0;
    for (const LayerStep& step : StepsOf(layout)) {
      uint64_t prepared = 0;
      for (const std::string& reader : step.readers)
        prepared += backend.PreparedBytes(layout.Linear(reader).out, step.width);
      memory.working = std::max({memory.working, prepared, 3 * kRowsAtOnce * step.width * sizeof(float)});
      // Of a mixture each row goes to the active experts alone.
      const size_t share =
          layout.experts && step.tap.find('.') != std::string::npos ? layout.experts->count : 1;
      const size_t times = share == 1 ? 1 : layout.experts->active;
      inputs += rows * step.width * sizeof(float) * times / share;
    }
    memory.held = std::max(memory.held, inputs);
  }
  const uint64_t inner = std::max({c.intermediate_size, c.moe_intermediate_size, kRowsAtOnce});
  memory.held += 2 * rows * c.hidden_size * sizeof(float);  // of this layer's input and output
  memory.working +=
      rows * (2 * c.hidden_size + 4 * c.QuerySize() + 4 * c.KeyValueSize() + 2 * inner) * sizeof(float);
  return memory;
}

}  // namespace lowbit
