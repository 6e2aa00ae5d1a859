// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/cpu/panels.h"

#include <memory>

#include "lowbit/kernels/cpu/vector_ops.h"

namespace lowbit {
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
    if (compute == Compute::kBF16) RoundToBF16({scratch.rows.data(), count});
    multiply_->Pack(scratch.rows.data(), packed);
  }
}

void PackedPanel::Multiply(const void* x, float* y) const {
  multiply_->Run(x, packed_, y);
}

uint64_t PackedPanels::IntegerBytes(const PackedSettings& weight) {
  const auto bytes = [&](size_t width) {
    return width == 0 ? 0
                      : IntegerPanel::PackedBytes(weight, width) + IntegerPanel::OwnedBytes(weight, width);
  };
  return weight.rows / kPanelColumns * bytes(kPanelColumns) + bytes(weight.rows % kPanelColumns);
}

PackedPanels::PackedPanels(const Weight& weight, Compute compute, const Threads& threads)
    : out_(Rows(weight)), in_(Cols(weight)), layout_{compute, InputFormOf(weight)} {
  const auto* shared = std::get_if<std::shared_ptr<const PackedTensor>>(&weight);
  const PackedTensor* integers = layout_.form.bits > 0 ? shared->get() : nullptr;
  if (integers != nullptr) layout_.order = integers->column_order;
  const auto bytes = [&](size_t width) {
    return integers != nullptr ? IntegerPanel::PackedBytes(*integers, width)
                               : PackedPanel::Bytes(in_, width, compute);
  };
  const size_t full = bytes(Width(0));
  memory_ = Buffer<std::byte>(full * (panels() - 1) + bytes(Width(panels() - 1)));
  if (integers != nullptr) {
    integer_panels_.resize(panels());
  } else {
    float_panels_.resize(panels());
  }
  std::vector<PanelScratch> scratch(static_cast<size_t>(threads.count()));
  threads.ForSlots(panels(), [&](size_t p, size_t slot) {
    const size_t begin = p * kPanelColumns;
    std::byte* packed = memory_.data() + p * full;
    if (integers != nullptr) {
      integer_panels_[p] = IntegerPanel(*integers, begin, Width(p), packed);
    } else {
      float_panels_[p] = PackedPanel(weight, begin, Width(p), compute, scratch[slot], packed);
    }
  });
}

void PackedPanels::Multiply(size_t panel, const TiledRows& rows, size_t tile, float* y) const {
  if (integer_panels_.empty()) {
    float_panels_[panel].Multiply(rows.Tile(tile), y);
  } else {
    integer_panels_[panel].Multiply(rows, tile, y);
  }
}

}  // namespace lowbit
