// SPDX-License-Identifier: Apache-2.0
// A weight matrix cut into panels of output channels, packed for oneDNN, and its product with tiles of rows.
// Tiles have one fixed height, whatever the batch: a row meets the same kernel wherever it stands. Where a packed
// matrix wants its inputs as integers, its codes are multiplied as they are (integer_panels.h).
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "lowbit/kernels/backend.h"
#include "lowbit/kernels/cpu/integer_panels.h"
#include "lowbit/kernels/cpu/onednn.h"
#include "lowbit/kernels/cpu/tiled_rows.h"

namespace lowbit {

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
  // Bytes of all panels of a matrix that wants its inputs as integers.
  static uint64_t IntegerBytes(const PackedSettings& weight);

  PackedPanels(const Weight& weight, Compute compute, const Threads& threads);
  size_t out() const override { return out_; }
  size_t in() const override { return in_; }

  // How its panels read rows.
  const RowLayout& layout() const { return layout_; }
  size_t panels() const { return (out_ + kPanelColumns - 1) / kPanelColumns; }
  size_t Width(size_t panel) const { return std::min(kPanelColumns, out_ - panel * kPanelColumns); }

  // y[kTileRows, Width(panel)] of a tile of rows that are laid out as layout() says.
  void Multiply(size_t panel, const TiledRows& rows, size_t tile, float* y) const;

 private:
  size_t out_, in_;
  RowLayout layout_;
  Buffer<std::byte> memory_;  // of all panels
  std::vector<PackedPanel> float_panels_;
  std::vector<IntegerPanel> integer_panels_;
};

}  // namespace lowbit
