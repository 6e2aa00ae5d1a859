// SPDX-License-Identifier: Apache-2.0
// Rounding whole matrices to nearest, group by group: all of RTN, and what other methods end with.
#pragma once

#include "lowbit/base/threads.h"
#include "lowbit/quant/spec.h"
#include "lowbit/tensor/packed.h"

namespace lowbit {

// 1 bit is binary, or planes where the spec says so; more are uniform.
PackFormat FormatOf(const WeightSpec& spec);

// A tensor of this shape with room for everything `spec` asks for, its columns stored in `column_order`
// (empty = natural). Its rows are filled by RoundRows or RoundGptq.
PackedTensor MakePacked(size_t rows, size_t cols, const WeightSpec& spec,
                        std::span<const uint32_t> column_order = {});

// Throws Error{kNumeric}: a scale or mean, `what`, of a group does not fit `type`.
[[noreturn]] void ThrowTooLarge(const Place& place, size_t row, size_t group, std::string_view what,
                                DType type);

// Rounds the rows of `weights`, all finite, with `cols` columns each, into rows [first, first + weights.rows)
// of `packed`, which MakePacked made from the same spec. Rows do not depend on each other: a large matrix may
// come in pieces. Throws Error{kNumeric} at `place` when a scale or mean is too large for spec.scale_type.
// `importance` is for range=hdiag, a value per column (UniformQuantizer::Choose).
void RoundRows(MatView<const float> weights, const WeightSpec& spec, size_t first, const Place& place,
               const Threads& threads, PackedTensor& packed, std::span<const float> importance = {});

// What RoundRows and then Dequantize make of `weights`, bit for bit, without packing. `values` has the same
// shape and may be the same memory; `first` numbers the rows for errors.
void RoundToValues(MatView<const float> weights, const WeightSpec& spec, size_t first, const Place& place,
                   const Threads& threads, MatView<float> values, std::span<const float> importance = {});

// How far a packed tensor is from the weights it was made from, and which of them are of an odd kind.
struct RoundingError {
  double error = 0;              // sum of (w - ŵ)²
  double weight = 0;             // sum of w²
  uint64_t zero_rows = 0;        // rows of nothing but 0
  uint64_t constant_groups = 0;  // groups of two weights or more that are all the same and not 0
  uint64_t lost_groups = 0;      // of these, those of which less than a tenth is left
  RoundingError& operator+=(const RoundingError& other);
  double Relative() const;  // ‖W - Ŵ‖ / ‖W‖, Frobenius norms; 0 when all weights are 0
};

// Of rows [first, first + weights.rows). Does not depend on the number of threads.
RoundingError MeasureError(MatView<const float> weights, const PackedTensor& packed, size_t first,
                           const Threads& threads);

}  // namespace lowbit
