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

// What the codes of a group mean.
struct GroupLevels {
  float scale = 1;
  uint8_t zero = 0;  // uniform
  float mean = 0;    // binary
};

// 1 bit: the mean μ of the group and the mean distance a from it; w becomes μ + a or μ - a.
class BinaryRounder {
 public:
  explicit BinaryRounder(const WeightSpec& spec) : type_(spec.scale_type) {}

  // Returns what does not fit, or nothing.
  std::string_view Round(std::span<const float> weights, std::span<const float>, GroupLevels& levels,
                         uint8_t* codes) const {
    const auto n = static_cast<double>(weights.size());
    levels.mean = RoundTo(type_, static_cast<float>(Loops().sum(weights.data(), weights.size()) / n));
    if (!std::isfinite(levels.mean)) return "mean";
    const double distance = Loops().deviation(weights.data(), weights.size(), levels.mean) / n;
    levels.scale = RoundScaleTo(type_, static_cast<float>(distance));
    if (!std::isfinite(levels.scale)) return "scale";
    Loops().encode_signs(weights.data(), weights.size(), levels.mean, codes);
    return {};
  }

  void Store(const GroupLevels& levels, size_t group, PackedTensor& packed) const {
    packed.means[group] = levels.mean;
    packed.scales[group] = levels.scale;
  }

  void Decode(std::span<const uint8_t> codes, const GroupLevels& levels, float* values) const {
    for (size_t i = 0; i < codes.size(); ++i)
      values[i] = levels.mean + (codes[i] != 0 ? levels.scale : -levels.scale);
  }

 private:
  DType type_;
};

class UniformRounder {
 public:
  explicit UniformRounder(const WeightSpec& spec) : quantizer_(spec), symmetric_(spec.symmetric) {}

  std::string_view Round(std::span<const float> weights, std::span<const float> importance,
                         GroupLevels& levels, uint8_t* codes) const {
    const GroupParams params = quantizer_.Choose(weights, importance);
    if (!std::isfinite(params.scale)) return "scale";
    levels.scale = params.scale;
    levels.zero = params.zero;
    quantizer_.Encode(weights, params, codes);
    return {};
  }

  void Store(const GroupLevels& levels, size_t group, PackedTensor& packed) const {
    packed.scales[group] = levels.scale;
    if (!symmetric_) packed.zeros[group] = levels.zero;
  }

  void Decode(std::span<const uint8_t> codes, const GroupLevels& levels, float* values) const {
    Loops().decode(codes.data(), codes.size(), levels.scale, levels.zero, values);
  }

 private:
  UniformQuantizer quantizer_;
  bool symmetric_;
};

// Calls body with the rounder that `spec` asks for.
template <class Body>
void WithRounder(const WeightSpec& spec, const Body& body) {
  LOWBIT_ASSERT(!spec.planes);
  if (FormatOf(spec) == PackFormat::kBinary) {
    body(BinaryRounder(spec));
  } else {
    body(UniformRounder(spec));
  }
}

// Rounds one row into `codes` and calls done(group, begin, size, levels) for every group of it.
template <class Rounder, class Done>
void RoundRow(const Rounder& rounder, std::span<const float> row, std::span<const float> importance,
              size_t group_size, size_t row_number, const Place& place, DType scale_type, uint8_t* codes,
              const Done& done) {
  for (size_t at = 0, k = 0; at < row.size(); at += group_size, ++k) {
    const size_t size = std::min(group_size, row.size() - at);
    GroupLevels levels;
    const std::string_view misfit =
        rounder.Round(row.subspan(at, size), importance.empty() ? importance : importance.subspan(at, size),
                      levels, codes + at);
    if (!misfit.empty()) ThrowTooLarge(place, row_number, k, misfit, scale_type);
    done(k, at, size, levels);
  }
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
  if (spec.planes) return PackFormat::kPlanes;
  return spec.bits == 1 ? PackFormat::kBinary : PackFormat::kUniform;
}

PackedTensor MakePacked(size_t rows, size_t cols, const WeightSpec& spec,
                        std::span<const uint32_t> column_order) {
  LOWBIT_ASSERT(column_order.empty() || column_order.size() == cols);
  PackedTensor packed;
  packed.column_order.assign(column_order.begin(), column_order.end());
  packed.format = FormatOf(spec);
  packed.bits = spec.planes ? 2 : spec.bits;  // the planes themselves
  packed.symmetric = spec.symmetric;
  packed.scale_type = spec.scale_type;
  packed.rows = rows;
  packed.cols = cols;
  packed.group_size = spec.GroupSizeFor(cols);
  packed.input = spec.InputFor(cols);
  const size_t groups = rows * packed.Groups();
  packed.codes.resize(rows * packed.RowBytes());
  packed.scales.resize(groups * packed.ScalesPerGroup());
  if (spec.planes) packed.salient.resize((cols + 7) / 8);
  if (packed.format == PackFormat::kBinary) packed.means.resize(groups);
  if (packed.format == PackFormat::kUniform && !packed.symmetric) packed.zeros.resize(groups);
  return packed;
}

void RoundRows(MatView<const float> weights, const WeightSpec& spec, size_t first, const Place& place,
               const Threads& threads, PackedTensor& packed, std::span<const float> importance) {
  LOWBIT_ASSERT(weights.cols == packed.cols && first + weights.rows <= packed.rows);
  LOWBIT_ASSERT(packed.column_order.empty());
  LOWBIT_ASSERT(importance.empty() || importance.size() == weights.cols);
  WithRounder(spec, [&](const auto& rounder) {
    ForRowPieces(weights.rows, weights.cols, threads, [&](size_t begin, size_t end) {
      std::vector<uint8_t> codes(weights.cols);
      for (size_t r = begin; r < end; ++r) {
        RoundRow(rounder, weights.RowSpan(r), importance, packed.group_size, first + r, place,
                 spec.scale_type, codes.data(), [&](size_t k, size_t, size_t, const GroupLevels& levels) {
                   rounder.Store(levels, (first + r) * packed.Groups() + k, packed);
                 });
        PackRow(codes, packed.bits, packed.codes.data() + (first + r) * packed.RowBytes());
      }
    });
  });
}

void RoundToValues(MatView<const float> weights, const WeightSpec& spec, size_t first, const Place& place,
                   const Threads& threads, MatView<float> values, std::span<const float> importance) {
  LOWBIT_ASSERT(weights.rows == values.rows && weights.cols == values.cols);
  LOWBIT_ASSERT(importance.empty() || importance.size() == weights.cols);
  WithRounder(spec, [&](const auto& rounder) {
    ForRowPieces(weights.rows, weights.cols, threads, [&](size_t begin, size_t end) {
      std::vector<uint8_t> codes(weights.cols);
      for (size_t r = begin; r < end; ++r) {
        float* row = values.Row(r);
        RoundRow(rounder, weights.RowSpan(r), importance, spec.GroupSizeFor(weights.cols), first + r, place,
                 spec.scale_type, codes.data(),
                 [&](size_t, size_t at, size_t size, const GroupLevels& levels) {
                   rounder.Decode({codes.data() + at, size}, levels, row + at);
                 });
      }
    });
  });
}

RoundingError& RoundingError::operator+=(const RoundingError& other) {
  error += other.error;
  weight += other.weight;
  zero_rows += other.zero_rows;
  constant_groups += other.constant_groups;
  lost_groups += other.lost_groups;
  return *this;
}

double RoundingError::Relative() const {
  return weight == 0 ? 0 : std::sqrt(error / weight);
}

namespace {

// `values`: what `weights`, a row of `packed`, became.
void CountOddOnes(std::span<const float> weights, const float* values, const PackedTensor& packed,
                  RoundingError& row) {
  if (std::ranges::all_of(weights, [](float w) { return w == 0; })) {
    row.zero_rows = 1;
    return;
  }
  const auto column = [&](size_t p) { return packed.column_order.empty() ? p : packed.column_order[p]; };
  for (size_t begin = 0; begin < weights.size(); begin += packed.group_size) {
    const size_t end = std::min(weights.size(), begin + packed.group_size);
    const float first = weights[column(begin)];
    size_t p = begin + 1;
    while (p < end && weights[column(p)] == first) ++p;
    if (p < end || end - begin < 2 || first == 0) continue;
    ++row.constant_groups;
    double left = 0;  // whatever its sign: GPTQ moves weights to make up for others
    for (size_t i = begin; i < end; ++i) left += std::abs(static_cast<double>(values[column(i)]));
    if (left < 0.1 * std::abs(first) * static_cast<double>(end - begin)) ++row.lost_groups;
  }
}

}  // namespace

RoundingError MeasureError(MatView<const float> weights, const PackedTensor& packed, size_t first,
                           const Threads& threads) {
  std::vector<RoundingError> rows(weights.rows);  // one sum per row, added in order at the end
  ForRowPieces(weights.rows, weights.cols, threads, [&](size_t begin, size_t end) {
    Matrix values(1, weights.cols);
    for (size_t r = begin; r < end; ++r) {
      Dequantize(packed, first + r, values.view());
      rows[r].error = Loops().squared_distance(weights.Row(r), values.data(), weights.cols);
      rows[r].weight = Loops().squares(weights.Row(r), weights.cols);
      CountOddOnes(weights.RowSpan(r), values.data(), packed, rows[r]);
    }
  });
  RoundingError total;
  for (const RoundingError& row : rows) total += row;
  return total;
}

}  // namespace lowbit
