// SPDX-License-Identifier: Apache-2.0
// Rows of activations as oneDNN reads them: dense, of one type, cut into tiles of one height and padded with zero
// rows.
#pragma once

#include <algorithm>
#include <list>
#include <span>
#include <vector>

#include "lowbit/kernels/backend.h"
#include "lowbit/kernels/cpu/onednn.h"

namespace lowbit {

// 64 rows: a panel of 512 × 1024 f32 (2 MiB) read once per tile costs 67 Mflop, far above any cache's rate,
// and a lone short sequence wastes at most 63 rows. Taller tiles measured no faster (docs/performance.md).
inline constexpr size_t kTileRows = 64;

// bf16 natively where the processor can; else values rounded to bf16 are multiplied as f32: same inputs, same kind
// of sums.
onednn::Element ElementFor(Compute compute);
void RoundToBF16(std::span<float> values);

// Integers of inputs: plus kInputShift as uint8 where products of such are exact, else held in f32, whose sums of few
// are exact, too.
inline constexpr int kInputShift = 128;
onednn::Element ElementForIntegers();

// How products want their rows.
struct RowLayout {
  Compute compute = Compute::kF32;  // of those that are not rounded to integers
  InputForm form = {};
  std::vector<uint32_t> order = {};  // of integers: position p holds column order[p]; empty: their own

  bool operator==(const RowLayout&) const = default;
  onednn::Element Element() const { return form.bits > 0 ? ElementForIntegers() : ElementFor(compute); }
};

class TiledRows {
 public:
  TiledRows(MatView<const float> x, const RowLayout& layout, const Threads& threads);
  size_t tiles() const { return (rows_ + kTileRows - 1) / kTileRows; }
  size_t cols() const { return cols_; }
  size_t TileHeight(size_t tile) const { return std::min(kTileRows, rows_ - tile * kTileRows); }
  const void* Tile(size_t tile) const;
  // Of integers: row r of a tile is about its integers times this.
  float RowScale(size_t tile, size_t r) const { return scales_[tile * kTileRows + r]; }
  int32_t SumOfIntegers(size_t tile, size_t r, size_t begin, size_t end) const;  // at positions [begin, end)

 private:
  void CopyTile(size_t tile, const RowLayout& layout);
  void CopyRow(const float* row, const RowLayout& layout, std::span<float> scratch, size_t t, size_t at);

  onednn::Element element_;
  size_t rows_, cols_;
  MatView<const float> x_;
  Buffer<uint16_t> bf16_;
  Buffer<uint8_t> u8_;
  Buffer<float> f32_;
  std::vector<float> scales_;
  size_t first_copied_tile_ = 0;  // those before are read where they stand
};

// One batch's rows in every layout that products ask for, each made once.
class InputRows {
 public:
  InputRows(MatView<const float> x, const Threads& threads) : x_(x), threads_(threads) {}
  const TiledRows& In(const RowLayout& layout);

 private:
  struct Made {
    RowLayout layout;
    TiledRows rows;
  };
  MatView<const float> x_;
  const Threads& threads_;
  std::list<Made> made_;
};

}  // namespace lowbit
