// SPDX-License-Identifier: Apache-2.0
// GPTQ on whole matrices, as the driver of `lowbit quantize` cuts them.
#pragma once

#include <numeric>
#include <vector>

#include "lowbit/quant/gptq.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {

struct Rounded {
  PackedTensor packed;
  double loss = 0;  // Σ e², RoundGptq
};

inline Rounded RoundAll(MatView<const float> weights, const GptqFactor& factor, const WeightSpec& spec,
                        const GptqOptions& options, const Threads& threads) {
  const Place place("weights");
  Rounded result;
  result.packed = MakePacked(weights.rows, weights.cols, spec, StoredOrder(factor, spec, options));
  std::vector<double> losses((weights.rows + kGptqRows - 1) / kGptqRows);
  threads.For(losses.size(), [&](size_t task) {
    const size_t first = task * kGptqRows;
    losses[task] = RoundGptq({.weights = weights.Rows(first, std::min(kGptqRows, weights.rows - first)),
                              .first_row = first,
                              .factor = factor,
                              .spec = spec,
                              .options = options,
                              .place = place},
                             result.packed);
  });
  result.loss = std::accumulate(losses.begin(), losses.end(), 0.0);
  return result;
}

// One byte a weight, columns in their own order.
inline std::vector<uint8_t> Codes(const PackedTensor& packed) {
  std::vector<uint8_t> codes(packed.rows * packed.cols), row(packed.cols);
  for (size_t r = 0; r < packed.rows; ++r) {
    UnpackRow(packed.codes.data() + r * packed.RowBytes(), packed.bits, row);
    for (size_t p = 0; p < packed.cols; ++p)
      codes[r * packed.cols + (packed.column_order.empty() ? p : packed.column_order[p])] = row[p];
  }
  return codes;
}

}  // namespace lowbit
