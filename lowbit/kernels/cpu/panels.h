// SPDX-License-Identifier: Apache-2.0
// A weight matrix cut into panels of output channels, packed for oneDNN, and its product with tiles of rows.
// Tiles have one fixed height, whatever the batch: a row meets the same kernel wherever it stands.
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "lowbit/kernels/backend.h"
#include "lowbit/kernels/cpu/onednn.h"

namespace lowbit {

// 64 rows: a panel of 512 × 1024 f32 (2 MiB) read once per tile costs 67 Mflop, far above any cache's rate,
// and a lone short sequence wastes at most 63 rows. Taller tiles measured no faster (docs/performance.md).
inline constexpr size_t kTileRows = 64;
inline constexpr size_t kPanelColumns = 512;

// Memory for making panels, reused from one to the next.
struct PanelScratch {
  Buffer<float> rows;
  Buffer<uint16_t> rounded;
};

// Rows [begin, begin + width) of a weight matrix, packed into memory owned elsewhere.
class PackedPanel {
 public:
  static size_t Bytes(size_t in, size_t width, Compute compute);

  PackedPanel() = default;
  PackedPanel(const Weight& weight, size_t begin, size_t width, Compute compute, PanelScratch& scratch,
              std::byte* packed);
  size_t width() const { return width_; }

  // y[kTileRows, width] = x[kTileRows, in] · panel; x dense, as TiledRows gives it.
  void Multiply(const void* x, float* y) const;

 private:
  const onednn::MatMul* multiply_ = nullptr;
  size_t width_ = 0;
  const std::byte* packed_ = nullptr;
};

class PackedPanels : public Prepared {
 public:
  PackedPanels(const Weight& weight, Compute compute, const Threads& threads);
  size_t out() const override { return out_; }
  size_t in() const override { return in_; }
  Compute compute() const { return compute_; }
  std::span<const PackedPanel> panels() const { return panels_; }

 private:
  size_t out_, in_;
  Compute compute_;
  Buffer<std::byte> memory_;  // of all panels
  std::vector<PackedPanel> panels_;
};

// Rows of activations as oneDNN reads them: dense, of the compute type, padded with zero rows to whole tiles.
class TiledRows {
 public:
  TiledRows(MatView<const float> x, Compute compute, const Threads& threads);
  size_t tiles() const { return (rows_ + kTileRows - 1) / kTileRows; }
  size_t TileHeight(size_t tile) const { return std::min(kTileRows, rows_ - tile * kTileRows); }
  const void* Tile(size_t tile) const;

 private:
  Compute compute_;
  size_t rows_, cols_;
  MatView<const float> x_;
  Buffer<uint16_t> bf16_;  // all rows, when computing in bf16
  Buffer<float> f32_;      // all rows when x is strided, else the last, padded tile
  size_t first_copied_tile_ = 0;
};

}  // namespace lowbit
