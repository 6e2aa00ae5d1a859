// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/rounding.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "lowbit/quant/row_loops.h"
#include "lowbit/quant/uniform.h"

namespace lowbit {
namespace {

// Rows handled by one call of a worker: enough weights that starting it costs nothing.
constexpr size_t kWeightsPerPiece = size_t{1} << 16;

// Calls body(begin, end) for pieces of [0, rows).
template <class Body>
void ForRowPieces(size_t rows, size_t cols, const Threads& threads, const Body& body) {
  const size_t step = std::max<size_t>(1, kWeightsPerPiece / cols);
  threads.For((rows + step - 1) / step,
              [&](size_t piece) { body(piece * step, std::min(rows, (piece + 1) * step)); });
}

// 1 bit: the mean μ of the group and the mean distance a from it; w becomes μ + a or μ - a.
class BinaryRounder {
 public:
  explicit BinaryRounder(const WeightSpec& spec) : type_(spec.scale_type) {}

  // Returns what does not fit, or nothing.
  std::string_view Round(std::span<const float> weights, size_t group, PackedTensor& packed,
                         uint8_t* codes) const {
    const auto n = static_cast<double>(weights.size());
    const float mean = RoundTo(type_, static_cast<float>(Loops().sum(weights.data(), weights.size()) / n));
    if (!std::isfinite(mean)) return "mean";
    const double distance = Loops().deviation(weights.data(), weights.size(), mean) / n;
    const float scale = RoundScaleTo(type_, static_cast<float>(distance));
    if (!std::isfinite(scale)) return "scale";
    packed.means[group] = mean;
    packed.scales[group] = scale;
    Loops().encode_signs(weights.data(), weights.size(), mean, codes);
    return {};
  }

 private:
  DType type_;
};

class UniformRounder {
 public:
  explicit UniformRounder(const WeightSpec& spec) : quantizer_(spec), symmetric_(spec.symmetric) {}

  std::string_view Round(std::span<const float> weights, size_t group, PackedTensor& packed,
                         uint8_t* codes) const {
    const GroupParams params = quantizer_.Choose(weights);
    if (!std::isfinite(params.scale)) return "scale";
    packed.scales[group] = params.scale;
    if (!symmetric_) packed.zeros[group] = params.zero;
    quantizer_.Encode(weights, params, codes);
    return {};
  }

 private:
  UniformQuantizer quantizer_;
  bool symmetric_;
};

template <class Rounder>
void RoundRowsWith(const Rounder& rounder, MatView<const float> weights, size_t first, const Place& place,
                   const Threads& threads, PackedTensor& packed) {
  const size_t groups = packed.Groups();
  ForRowPieces(weights.rows, weights.cols, threads, [&](size_t begin, size_t end) {
    std::vector<uint8_t> codes(weights.cols);
    for (size_t r = begin; r < end; ++r) {
      const std::span<const float> row = weights.RowSpan(r);
      for (size_t k = 0; k < groups; ++k) {
        const size_t at = k * packed.group_size, size = std::min(packed.group_size, row.size() - at);
        const std::string_view misfit =
            rounder.Round(row.subspan(at, size), (first + r) * groups + k, packed, codes.data() + at);
        if (!misfit.empty()) ThrowTooLarge(place, first + r, k, misfit, packed.scale_type);
      }
      PackRow(codes, packed.bits, packed.codes.data() + (first + r) * packed.RowBytes());
    }
  });
}

}  // namespace

void ThrowTooLarge(const Place& place, size_t row, size_t group, std::string_view what, DType type) {
  Error error(ErrorKind::kNumeric,
              place.Item(fmt::format("row {}", row)).Item(fmt::format("group {}", group)),
              fmt::format("the {} is too large for {}, expected weights of ordinary size", what, Name(type)));
  if (type == DType::kF16) error.Hint("scale=f32 in the recipe stores scales as F32");
  throw error;
}

PackFormat FormatOf(const WeightSpec& spec) {
  return spec.bits == 1 ? PackFormat::kBinary : PackFormat::kUniform;
}

PackedTensor MakePacked(size_t rows, size_t cols, const WeightSpec& spec,
                        std::span<const uint32_t> column_order) {
  LOWBIT_ASSERT(column_order.empty() || column_order.size() == cols);
  PackedTensor packed;
  packed.column_order.assign(column_order.begin(), column_order.end());
  packed.format = FormatOf(spec);
  packed.bits = spec.bits;
  packed.symmetric = spec.symmetric;
  packed.scale_type = spec.scale_type;
  packed.rows = rows;
  packed.cols = cols;
  packed.group_size = spec.GroupSizeFor(cols);
  const size_t groups = rows * packed.Groups();
  packed.codes.resize(rows * packed.RowBytes());
  packed.scales.resize(groups);
  if (packed.format == PackFormat::kBinary) packed.means.resize(groups);
  if (packed.format == PackFormat::kUniform && !packed.symmetric) packed.zeros.resize(groups);
  return packed;
}

void RoundRows(MatView<const float> weights, const WeightSpec& spec, size_t first, const Place& place,
               const Threads& threads, PackedTensor& packed) {
  LOWBIT_ASSERT(weights.cols == packed.cols && first + weights.rows <= packed.rows);
  LOWBIT_ASSERT(packed.column_order.empty());
  if (FormatOf(spec) == PackFormat::kBinary) {
    RoundRowsWith(BinaryRounder(spec), weights, first, place, threads, packed);
  } else {
    RoundRowsWith(UniformRounder(spec), weights, first, place, threads, packed);
  }
}

RoundingError& RoundingError::operator+=(const RoundingError& other) {
  error += other.error;
  weight += other.weight;
  return *this;
}

double RoundingError::Relative() const {
  return weight == 0 ? 0 : std::sqrt(error / weight);
}

RoundingError MeasureError(MatView<const float> weights, const PackedTensor& packed, size_t first,
                           const Threads& threads) {
  std::vector<RoundingError> rows(weights.rows);  // one sum per row, added in order at the end
  ForRowPieces(weights.rows, weights.cols, threads, [&](size_t begin, size_t end) {
    Matrix values(1, weights.cols);
    for (size_t r = begin; r < end; ++r) {
      Dequantize(packed, first + r, values.view());
      rows[r].error = Loops().squared_distance(weights.Row(r), values.data(), weights.cols);
      rows[r].weight = Loops().squares(weights.Row(r), weights.cols);
    }
  });
  RoundingError total;
  for (const RoundingError& row : rows) total += row;
  return total;
}

}  // namespace lowbit
