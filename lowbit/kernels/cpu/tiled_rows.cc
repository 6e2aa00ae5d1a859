// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/cpu/tiled_rows.h"

#include <cstring>

#include "lowbit/kernels/cpu/input_ops.h"
#include "lowbit/kernels/cpu/vector_ops.h"

namespace lowbit {

onednn::Element ElementFor(Compute compute) {
  static const bool native = onednn::SupportsBF16();
  return compute == Compute::kBF16 && native ? onednn::Element::kBF16 : onednn::Element::kF32;
}

onednn::Element ElementForIntegers() {
  static const bool exact = onednn::HasExactIntegers();
  return exact ? onednn::Element::kU8S8 : onednn::Element::kF32;
}

void RoundToBF16(std::span<float> values) {
  for (float& v : values) v = ToFloat(ToBF16(v));
}

TiledRows::TiledRows(MatView<const float> x, const RowLayout& layout, const Threads& threads)
    : element_(layout.Element()), rows_(x.rows), cols_(x.cols), x_(x) {
  const bool as_they_are = layout.form.IsPlain() && layout.compute == Compute::kF32 && x.stride == x.cols;
  first_copied_tile_ = as_they_are ? rows_ / kTileRows : 0;
  const size_t copied = (tiles() - first_copied_tile_) * kTileRows * cols_;
  switch (element_) {
    case onednn::Element::kF32:
      f32_ = Buffer<float>(copied);
      break;
    case onednn::Element::kBF16:
      bf16_ = Buffer<uint16_t>(copied);
      break;
    case onednn::Element::kU8S8:
      u8_ = Buffer<uint8_t>(copied);
      break;
  }
  if (layout.form.bits > 0) scales_.resize(tiles() * kTileRows);
  threads.For(tiles() - first_copied_tile_, [&](size_t i) { CopyTile(first_copied_tile_ + i, layout); });
}

void TiledRows::CopyTile(size_t tile, const RowLayout& layout) {
  std::vector<float> scratch(layout.form.IsPlain() ? 0 : 2 * cols_);
  const std::vector<float> padding(TileHeight(tile) < kTileRows ? cols_ : 0);
  for (size_t r = 0; r < kTileRows; ++r) {
    const size_t t = tile * kTileRows + r;
    CopyRow(r < TileHeight(tile) ? x_.Row(t) : padding.data(), layout, scratch, t,
            (t - first_copied_tile_ * kTileRows) * cols_);
  }
}

// Row `t` to element `at` of what is copied.
void TiledRows::CopyRow(const float* row, const RowLayout& layout, std::span<float> scratch, size_t t,
                        size_t at) {
  const InputForm& form = layout.form;
  if (form.rotation > 0) {
    std::memcpy(scratch.data(), row, cols_ * sizeof(float));
    vector::RotateBlocks(scratch.data(), cols_, form.rotation);
    row = scratch.data();
  }
  if (form.bits > 0) {
    if (!layout.order.empty()) {
      float* ordered = scratch.data() + cols_;
      for (size_t p = 0; p < cols_; ++p) ordered[p] = row[layout.order[p]];
      row = ordered;
    }
    if (element_ == onednn::Element::kU8S8) {
      auto* integers = reinterpret_cast<int8_t*>(u8_.data() + at);
      scales_[t] = vector::RoundInputsRow(row, cols_, form.bits, form.scale, integers);
      for (size_t j = 0; j < cols_; ++j) u8_.data()[at + j] = static_cast<uint8_t>(integers[j] + kInputShift);
    } else {
      std::vector<int8_t> integers(cols_);
      scales_[t] = vector::RoundInputsRow(row, cols_, form.bits, form.scale, integers.data());
      std::ranges::copy(integers, f32_.data() + at);
    }
  } else if (element_ == onednn::Element::kBF16) {
    vector::ToBF16Row(row, bf16_.data() + at, cols_);
  } else {
    std::memcpy(f32_.data() + at, row, cols_ * sizeof(float));
    if (layout.compute == Compute::kBF16) RoundToBF16({f32_.data() + at, cols_});
  }
}

const void* TiledRows::Tile(size_t tile) const {
  if (tile < first_copied_tile_) return x_.data + tile * kTileRows * cols_;
  const size_t offset = (tile - first_copied_tile_) * kTileRows * cols_;
  switch (element_) {
    case onednn::Element::kBF16:
      return bf16_.data() + offset;
    case onednn::Element::kU8S8:
      return u8_.data() + offset;
    case onednn::Element::kF32:
      break;
  }
  return f32_.data() + offset;
}

int32_t TiledRows::SumOfIntegers(size_t tile, size_t r, size_t begin, size_t end) const {
  const size_t row = (tile * kTileRows + r) * cols_;
  int32_t sum = 0;
  for (size_t p = begin; p < end; ++p) {
    sum += element_ == onednn::Element::kU8S8 ? u8_.data()[row + p] - kInputShift
                                              : static_cast<int32_t>(f32_.data()[row + p]);
  }
  return sum;
}

const TiledRows& InputRows::In(const RowLayout& layout) {
  for (const Made& made : made_) {
    if (made.layout == layout) return made.rows;
  }
  made_.push_back({layout, TiledRows(x_, layout, threads_)});
  return made_.back().rows;
}

}  // namespace lowbit
