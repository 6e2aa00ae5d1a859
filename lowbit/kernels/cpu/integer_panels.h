// SPDX-License-Identifier: Apache-2.0
// Codes of a packed matrix against rows that were rounded to integers: exact int32 sums group by group, scales
// applied once to each sum. Σ q s (c - z) = s (Σ q c - z Σ q).
#pragma once

#include <cstdint>
#include <vector>

#include "lowbit/kernels/cpu/tiled_rows.h"
#include "lowbit/tensor/packed.h"

namespace lowbit {

// Rows [begin, begin + width) of a uniform matrix, packed into memory owned elsewhere.
class IntegerPanel {
 public:
  // Of that memory, and of what a panel owns beside it.
  static size_t PackedBytes(const PackedSettings& weight, size_t width);
  static size_t OwnedBytes(const PackedSettings& weight, size_t width);

  IntegerPanel() = default;
  // `weight` is not needed any more afterwards.
  IntegerPanel(const PackedTensor& weight, size_t begin, size_t width, std::byte* packed);
  size_t width() const { return width_; }

  // y[kTileRows, width] of a tile; rows in the matrix's own order of columns.
  void Multiply(const TiledRows& rows, size_t tile, float* y) const;

 private:
  // Columns whose products are summed by one call of the library: a group, or as much of it as f32 sums exactly.
  struct Part {
    const onednn::MatMul* multiply;
    size_t begin, columns;  // positions
    const std::byte* packed;
    size_t group, group_begin;
    bool ends_group;
  };
  static std::vector<Part> PartsOf(const PackedSettings& weight, size_t width);

  size_t width_ = 0;
  std::vector<Part> parts_;
  std::vector<float> scales_;  // [groups, width]
  // [groups, width], added to a group's sums: what kInputShift adds to inputs, times the values; empty without it.
  std::vector<int32_t> shifts_;
  // The same, times the sum of the group's inputs: what 8-bit codes lack, 128 - z; empty where z is in the values.
  std::vector<int32_t> offsets_;
};

}  // namespace lowbit
