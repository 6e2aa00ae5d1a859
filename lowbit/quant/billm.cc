// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/billm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "lowbit/quant/blas.h"
#include "lowbit/quant/rounding.h"
#include "lowbit/quant/uniform.h"

namespace lowbit {
namespace {

// Mean and mean distance from it, as they are stored: each is rounded before what follows from it.
struct Pair {
  float mean = 0, scale = 0;
};

Pair Binarize(std::span<const float> values, DType type) {
  if (values.empty()) return {};
  const auto n = static_cast<double>(values.size());
  double sum = 0, distance = 0;
  for (const float v : values) sum += static_cast<double>(v);
  const float mean = RoundTo(type, static_cast<float>(sum / n));
  for (const float v : values) distance += std::abs(static_cast<double>(v) - static_cast<double>(mean));
  return {mean, RoundScaleTo(type, static_cast<float>(distance / n))};
}

// Twice over: the mean, the scale around it, and the scale of what these leave. Both means are stored as one, so the
// first is not rounded by itself.
struct Twice {
  double first_mean = 0;  // signs of the first plane are those of v - first_mean
  float mean = 0, scale = 0, residual = 0;
};

Twice BinarizeTwice(std::span<const float> values, DType type) {
  Twice t;
  if (values.empty()) return t;
  const auto n = static_cast<double>(values.size());
  double sum = 0, distance = 0, rest = 0, second = 0;
  for (const float v : values) sum += static_cast<double>(v);
  t.first_mean = sum / n;
  for (const float v : values) distance += std::abs(static_cast<double>(v) - t.first_mean);
  t.scale = RoundScaleTo(type, static_cast<float>(distance / n));
  const auto left = [&](float v) {  // by the first plane
    const double r = static_cast<double>(v) - t.first_mean;
    return r < 0 ? r + static_cast<double>(t.scale) : r - static_cast<double>(t.scale);
  };
  for (const float v : values) rest += left(v);
  t.mean = RoundTo(type, static_cast<float>(t.first_mean + rest / n));
  const double second_mean = static_cast<double>(t.mean) - t.first_mean;
  for (const float v : values) second += std::abs(left(v) - second_mean);
  t.residual = RoundScaleTo(type, static_cast<float>(second / n));
  return t;
}

// Weights of one row and block, by the plane they belong to.
struct RowParts {
  std::vector<float> centre, tail, salient;
  void Clear() {
    centre.clear();
    tail.clear();
    salient.clear();
  }
};

class Binarizer {
 public:
  Binarizer(const BillmJob& job, PackedTensor& packed)
      : job_(job),
        packed_(packed),
        rows_(job.weights.rows),
        cols_(job.weights.cols),
        tiles_((rows_ + kLanes - 1) / kLanes),
        weights_(tiles_ * cols_ * kLanes),
        codes_(rows_ * cols_),
        pivots_(cols_, 1.0f),
        slots_(static_cast<size_t>(job.threads.count())) {
    for (size_t c = 0; HasFactor() && c < cols_; ++c) pivots_[c] = Factor(c)[c];
  }

  BillmLoss Round() {
    job_.threads.For(tiles_, [&](size_t tile) { Load(tile); });
    std::vector<double> passed_on(tiles_), output(tiles_);
    for (size_t begin = 0, k = 0; begin < cols_; begin += packed_.group_size, ++k) {
      const size_t end = std::min(cols_, begin + packed_.group_size);
      const BillmBlock block{weights_.data() + begin * kLanes, cols_ * kLanes, rows_, end - begin,
                             pivots_.data() + begin};
      const BillmSplit split = SplitBlock(block, job_.most_salient, job_.threads);
      for (size_t c = begin; c < end; ++c) {
        if (split.salient[c - begin] != 0)
          packed_.salient[c / 8] = static_cast<uint8_t>(packed_.salient[c / 8] | 1u << (c % 8));
      }
      job_.threads.ForSlots(tiles_, [&](size_t tile, size_t slot) {
        passed_on[tile] += RoundBlock(block, split, tile, k, slots_[slot]);
      });
    }
    job_.threads.For(tiles_, [&](size_t tile) { output[tile] = Store(tile); });
    BillmLoss loss;
    for (size_t tile = 0; tile < tiles_; ++tile) {
      loss.passed_on += passed_on[tile] / 2;
      loss.output += output[tile];
    }
    if (std::isfinite(loss.passed_on) && std::isfinite(loss.output)) return loss;
    throw Error(ErrorKind::kNumeric, job_.place,
                fmt::format("its errors add up to {}, expected a finite number", loss.passed_on))
        .Hint("a larger damp in the recipe keeps them smaller");
  }

 private:
  struct Scratch {
    RowParts parts;
    Buffer<float> errors;  // [block, kLanes]
  };

  bool HasFactor() const { return job_.factor.state == GramState::kFactored; }
  const float* Factor(size_t column) const { return job_.factor.u.data() + column * cols_; }
  size_t RowsOf(size_t tile) const { return std::min(kLanes, rows_ - tile * kLanes); }
  float* Weights(size_t tile, size_t column) { return weights_.data() + (tile * cols_ + column) * kLanes; }

  // Lanes without a row stay 0, and so do dead columns.
  void Load(size_t tile) {
    std::fill_n(Weights(tile, 0), cols_ * kLanes, 0.0f);
    for (size_t r = 0; r < RowsOf(tile); ++r) {
      const float* row = job_.weights.Row(tile * kLanes + r);
      for (size_t c = 0; c < cols_; ++c) Weights(tile, c)[r] = row[c];
    }
    if (!HasFactor()) return;
    for (const uint32_t c : job_.factor.dead) std::fill_n(Weights(tile, c), kLanes, 0.0f);
  }

  // Chooses scalars and codes of group `k` in a tile's rows, and passes the errors on. Returns Σ e².
  double RoundBlock(const BillmBlock& block, const BillmSplit& split, size_t tile, size_t k,
                    Scratch& scratch) {
    if (scratch.errors.size() == 0) scratch.errors = Buffer<float>(packed_.group_size * kLanes);
    float* errors = scratch.errors.data();
    std::fill_n(errors, block.width * kLanes, 0.0f);
    for (size_t r = 0; r < RowsOf(tile); ++r) RoundRow(block, split, tile, k, r, scratch);
    const size_t begin = k * packed_.group_size, end = begin + block.width;
    if (HasFactor()) {
      if (job_.options.exact) {
        blas::SolveTransposed(block.width, kLanes, Factor(begin) + begin, cols_, errors, kLanes);
      } else {
        for (size_t i = 0; i < block.width * kLanes; ++i) errors[i] /= block.pivots[i / kLanes];
      }
      if (end < cols_) {
        blas::SubtractOfTransposed(cols_ - end, kLanes, block.width, Factor(begin) + end, cols_, errors,
                                   kLanes, Weights(tile, end), kLanes);
      }
    }
    return SumOfSquares({errors, block.width * kLanes});
  }

  void RoundRow(const BillmBlock& block, const BillmSplit& split, size_t tile, size_t k, size_t lane,
                Scratch& scratch) {
    const size_t row = tile * kLanes + lane, begin = k * packed_.group_size;
    const float* w = block.weights + tile * block.tile_stride + lane;
    uint8_t* codes = codes_.data() + row * cols_ + begin;
    scratch.parts.Clear();
    for (size_t c = 0; c < block.width; ++c) {
      const bool is_salient = split.salient[c] != 0;
      const bool is_tail = !is_salient && !(block.Saliency(tile, c, lane) < split.threshold);
      codes[c] = is_tail ? 2 : 0;
      (is_salient ? scratch.parts.salient
       : is_tail  ? scratch.parts.tail
                  : scratch.parts.centre)
          .push_back(w[c * kLanes]);
    }
    const Pair centre = Binarize(scratch.parts.centre, job_.spec.scale_type),
               tail = Binarize(scratch.parts.tail, job_.spec.scale_type);
    const Twice salient = BinarizeTwice(scratch.parts.salient, job_.spec.scale_type);
    const std::span<float, kPlaneScalars> scalars = std::span(packed_.scales)
                                                        .subspan((row * packed_.Groups() + k) * kPlaneScalars)
                                                        .first<kPlaneScalars>();
    const std::array<float, kPlaneScalars> chosen = {centre.mean,  centre.scale,  tail.mean,       tail.scale,
                                                     salient.mean, salient.scale, salient.residual};
    std::ranges::copy(chosen, scalars.begin());
    for (const float s : chosen) {
      if (!std::isfinite(s)) ThrowTooLarge(job_.place, row, k, "mean or scale", job_.spec.scale_type);
    }
    const PlaneLevels levels = LevelsOfPlanes(scalars);
    for (size_t c = 0; c < block.width; ++c) {
      const float v = w[c * kLanes];
      if (split.salient[c] != 0) {
        const bool first = static_cast<double>(v) >= salient.first_mean;
        const float half = salient.mean + (first ? salient.scale : -salient.scale);
        codes[c] = static_cast<uint8_t>((first ? 1 : 0) | (v >= half ? 2 : 0));
      } else {
        codes[c] = static_cast<uint8_t>(codes[c] | (v >= (codes[c] == 2 ? tail.mean : centre.mean) ? 1 : 0));
      }
      scratch.errors[c * kLanes + lane] = v - levels.of[split.salient[c]][codes[c]];
    }
  }

  // Packs a tile's rows. Returns tr(E (H + damping) Eᵀ) of them, with (H + damping)⁻¹ = UᵀU.
  double Store(size_t tile) {
    const size_t first = tile * kLanes;
    Matrix values(1, cols_);
    float* errors = Weights(tile, 0);  // the weights are not needed any more
    std::fill_n(errors, cols_ * kLanes, 0.0f);
    for (size_t r = 0; r < RowsOf(tile); ++r) {
      PackRow(std::span<const uint8_t>(codes_).subspan((first + r) * cols_, cols_), packed_.bits,
              packed_.codes.data() + (first + r) * packed_.RowBytes());
      Dequantize(packed_, first + r, values.view());
      for (size_t c = 0; c < cols_; ++c)
        errors[c * kLanes + r] = job_.weights.Row(first + r)[c] - values.data()[c];
      if (!HasFactor()) continue;
      for (const uint32_t c : job_.factor.dead) errors[c * kLanes + r] = -values.data()[c];
    }
    if (HasFactor()) blas::SolveTransposed(cols_, kLanes, job_.factor.u.data(), cols_, errors, kLanes);
    return SumOfSquares({errors, cols_ * kLanes});
  }

  static double SumOfSquares(std::span<const float> values) {
    double sum = 0;
    for (const float v : values) sum += static_cast<double>(v) * static_cast<double>(v);
    return sum;
  }

  const BillmJob& job_;
  PackedTensor& packed_;
  size_t rows_, cols_, tiles_;
  Buffer<float> weights_;      // [tiles, cols, kLanes]
  Buffer<uint8_t> codes_;      // [rows, cols]
  std::vector<float> pivots_;  // [cols]
  std::vector<Scratch> slots_;
};

}  // namespace

BillmLoss RoundBillm(const BillmJob& job, PackedTensor& packed) {
  LOWBIT_ASSERT(packed.format == PackFormat::kPlanes && packed.rows == job.weights.rows);
  LOWBIT_ASSERT(packed.cols == job.weights.cols && job.factor.cols() == job.weights.cols);
  LOWBIT_ASSERT(job.factor.order.empty());
  std::ranges::fill(packed.salient, uint8_t{0});
  return Binarizer(job, packed).Round();
}

}  // namespace lowbit
