// SPDX-License-Identifier: Apache-2.0
// Which of BiLLM's planes the weights of a block belong to: salient columns, and of the others a centre and a tail.
// Both are chosen by what binarization makes of the saliencies s = w² / d² (not of the weights: so the original).
#pragma once

#include <cstdint>
#include <vector>

#include "lowbit/base/threads.h"
#include "lowbit/quant/gptq_loops.h"

namespace lowbit {

// Columns of a matrix, in tiles of kLanes rows.
struct BillmBlock {
  const float* weights = nullptr;  // of the first tile [width, kLanes]; lanes without a row are 0
  size_t tile_stride = 0;          // floats from one tile to the next
  size_t rows = 0, width = 0;
  const float* pivots = nullptr;  // [width], d: diagonal of the factor, not 0

  size_t tiles() const { return (rows + kLanes - 1) / kLanes; }
  size_t RowsOf(size_t tile) const { return tile + 1 < tiles() ? kLanes : rows - tile * kLanes; }
  double Saliency(size_t tile, size_t column, size_t lane) const {
    const auto w = static_cast<double>(weights[tile * tile_stride + column * kLanes + lane]);
    const auto d = static_cast<double>(pivots[column]);
    return w * w / (d * d);
  }
};

struct BillmSplit {
  std::vector<uint8_t> salient;  // [width]: 0 or 1
  double threshold = 0;          // of the others: the centre's saliencies are below it
};

inline constexpr size_t kBillmMostSalient = 49;  // columns of a block

// The number k ≤ `most_salient` of columns, those with the largest sums of saliencies, and the threshold out of the
// quantiles 0.10, 0.11, … 0.90 of the saliencies, that of salient columns counted as 0, with the smallest errors of
// binarization, of equal ones the first. Does not depend on the number of threads.
BillmSplit SplitBlock(const BillmBlock& block, size_t most_salient, const Threads& threads);

// Those quantiles, for tests: of all rows × width saliencies, between two of them in proportion.
std::vector<double> BillmThresholds(const BillmBlock& block, const std::vector<uint8_t>& salient,
                                    const Threads& threads);

}  // namespace lowbit
