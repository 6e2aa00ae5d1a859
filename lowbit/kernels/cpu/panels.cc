// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/cpu/panels.h"

#include <algorithm>
#include <cstring>

#include "lowbit/kernels/cpu/vector_ops.h"

namespace lowbit {
namespace {

// Without bf16 instructions, values rounded to bf16 are multiplied as f32: same inputs, same kind of sums.
onednn::Element ElementFor(Compute compute) {
  static const bool native = onednn::SupportsBF16();
  return compute == Compute::kBF16 && native ? onednn::Element::kBF16 : onednn::Element::kF32;
}

void RoundToBF16(float* values, size_t n) {
  for (size_t i = 0; i < n; ++i) values[i] = ToFloat(ToBF16(values[i]));
}

}  // namespace

size_t PackedPanel::Bytes(size_t in, size_t width, Compute compute) {
  const size_t bytes = onednn::MatMul::Get(ElementFor(compute), kTileRows, in, width).PanelBytes();
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

PackedPanel::PackedPanel(const Weight& weight, size_t begin, size_t width, Compute compute,
                         PanelScratch& scratch, std::byte* packed)
    : width_(width), packed_(packed) {
  const onednn::Element element = ElementFor(compute);
  const size_t in = Cols(weight), count = width * in;
  multiply_ = &onednn::MatMul::Get(element, kTileRows, in, width);
  if (scratch.rows.size() < count) scratch.rows = Buffer<float>(count);
  RowsToFloat(weight, begin, MatView<float>(scratch.rows.data(), width, in));
  if (element == onednn::Element::kBF16) {
    if (scratch.rounded.size() < count) scratch.rounded = Buffer<uint16_t>(count);
    vector::ToBF16Row(scratch.rows.data(), scratch.rounded.data(), count);
    multiply_->Pack(scratch.rounded.data(), packed);
  } else {
    if (compute == Compute::kBF16) RoundToBF16(scratch.rows.data(), count);
    multiply_->Pack(scratch.rows.data(), packed);
  }
}

void PackedPanel::Multiply(const void* x, float* y) const {
  multiply_->Run(x, packed_, y);
}

PackedPanels::PackedPanels(const Weight& weight, Compute compute, const Threads& threads)
    : out_(Rows(weight)),
      in_(Cols(weight)),
      compute_(compute),
      panels_((out_ + kPanelColumns - 1) / kPanelColumns) {
  const size_t full = PackedPanel::Bytes(in_, std::min(kPanelColumns, out_), compute),
               last_width = out_ - (panels_.size() - 1) * kPanelColumns;
  memory_ = Buffer<std::byte>(full * (panels_.size() - 1) + PackedPanel::Bytes(in_, last_width, compute));
  std::vector<PanelScratch> scratch(static_cast<size_t>(threads.count()));
  threads.ForSlots(panels_.size(), [&](size_t p, size_t slot) {
    const size_t begin = p * kPanelColumns;
    panels_[p] = PackedPanel(weight, begin, std::min(kPanelColumns, out_ - begin), compute, scratch[slot],
                             memory_.data() + p * full);
  });
}

TiledRows::TiledRows(MatView<const float> x, Compute compute, const Threads& threads)
    : compute_(compute), rows_(x.rows), cols_(x.cols), x_(x) {
  const bool to_bf16 = ElementFor(compute) == onednn::Element::kBF16;
  const bool copy_all = to_bf16 || compute == Compute::kBF16 || x.stride != x.cols;
  first_copied_tile_ = copy_all ? 0 : rows_ / kTileRows;
  const size_t copied = tiles() - first_copied_tile_, tile_size = kTileRows * cols_;
  if (to_bf16) {
    bf16_ = Buffer<uint16_t>(copied * tile_size);
  } else {
    f32_ = Buffer<float>(copied * tile_size);
  }
  threads.For(copied, [&](size_t i) {
    const size_t tile = first_copied_tile_ + i, height = TileHeight(tile);
    for (size_t r = 0; r < kTileRows; ++r) {
      const float* row = r < height ? x.Row(tile * kTileRows + r) : nullptr;
      if (to_bf16) {
        uint16_t* to = bf16_.data() + i * tile_size + r * cols_;
        if (row != nullptr) {
          vector::ToBF16Row(row, to, cols_);
        } else {
          std::fill(to, to + cols_, uint16_t{0});
        }
      } else {
        float* to = f32_.data() + i * tile_size + r * cols_;
        if (row != nullptr) {
          std::memcpy(to, row, cols_ * sizeof(float));
          if (compute == Compute::kBF16) RoundToBF16(to, cols_);
        } else {
          std::fill(to, to + cols_, 0.0f);
        }
      }
    }
  });
}

const void* TiledRows::Tile(size_t tile) const {
  if (tile < first_copied_tile_) return x_.data + tile * kTileRows * cols_;
  const size_t offset = (tile - first_copied_tile_) * kTileRows * cols_;
  if (bf16_.size() > 0) return bf16_.data() + offset;
  return f32_.data() + offset;
}

}  // namespace lowbit
