// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/cpu/integer_panels.h"

#include <algorithm>
#include <numeric>

#include "lowbit/kernels/cpu/input_ops.h"
#include "lowbit/kernels/cpu/vector_ops.h"
#include "lowbit/tensor/buffer.h"

namespace lowbit {
namespace {

// 1024 products of up to 127 · 128 are below 2^24, the integers that f32 holds.
constexpr size_t kExactColumns = 1024;
constexpr int kHalf = 128;  // what 8-bit codes lose so that they are int8

size_t Aligned(size_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

size_t ElementBytes() {
  return ElementForIntegers() == onednn::Element::kU8S8 ? sizeof(int8_t) : sizeof(float);
}

// Whether inputs are kInputShift larger than they should be.
bool HasShifts() {
  return ElementForIntegers() == onednn::Element::kU8S8;
}

// Whether zero points do not fit into int8 together with the codes.
bool HasOffsets(const PackedSettings& weight) {
  return weight.bits == 8 && !weight.symmetric;
}

int ZeroOf(const PackedTensor& weight, size_t group) {
  return weight.symmetric ? 1 << (weight.bits - 1) : weight.zeros[group];
}

struct Scratch {
  Buffer<float> floats;
  Buffer<int32_t> sums, part;
};

Scratch& ThreadScratch(size_t count) {
  thread_local Scratch scratch;
  if (scratch.sums.size() < count) {
    scratch.sums = Buffer<int32_t>(count);
    scratch.floats = Buffer<float>(ElementForIntegers() == onednn::Element::kU8S8 ? 0 : count);
  }
  return scratch;
}

}  // namespace

std::vector<IntegerPanel::Part> IntegerPanel::PartsOf(const PackedSettings& weight, size_t width) {
  const onednn::Element element = ElementForIntegers();
  const size_t most = element == onednn::Element::kU8S8 ? weight.cols : kExactColumns;
  std::vector<Part> parts;
  for (size_t group = 0; group < weight.Groups(); ++group) {
    const size_t first = group * weight.group_size, end = std::min(weight.cols, first + weight.group_size);
    for (size_t at = first; at < end; at += most) {
      const size_t columns = std::min(most, end - at);
      parts.push_back({&onednn::MatMul::Get(element, kTileRows, columns, width, weight.cols), at, columns,
                       nullptr, group, first, at + columns == end});
    }
  }
  return parts;
}

size_t IntegerPanel::PackedBytes(const PackedSettings& weight, size_t width) {
  size_t bytes = 0;
  for (const Part& part : PartsOf(weight, width)) bytes += Aligned(part.multiply->PanelBytes());
  return bytes;
}

size_t IntegerPanel::OwnedBytes(const PackedSettings& weight, size_t width) {
  const size_t of_a_group =
      sizeof(float) + (HasShifts() ? sizeof(int32_t) : 0) + (HasOffsets(weight) ? sizeof(int32_t) : 0);
  return weight.Groups() * width * of_a_group + PartsOf(weight, width).size() * sizeof(Part);
}

IntegerPanel::IntegerPanel(const PackedTensor& weight, size_t begin, size_t width, std::byte* packed)
    : width_(width), parts_(PartsOf(weight, width)) {
  const size_t groups = weight.Groups(), cols = weight.cols;
  scales_.resize(groups * width);
  if (HasOffsets(weight)) offsets_.resize(groups * width);
  if (HasShifts()) shifts_.resize(groups * width);
  std::vector<uint8_t> codes(cols);
  std::vector<int8_t> values(width * cols);  // by part, [width, columns] each
  for (size_t r = 0; r < width; ++r) {
    const size_t row = begin + r;
    UnpackRow(weight.codes.data() + row * weight.RowBytes(), weight.bits, codes);
    for (size_t group = 0; group < groups; ++group) {
      scales_[group * width + r] = weight.scales[row * groups + group];
      if (HasOffsets(weight)) offsets_[group * width + r] = kHalf - ZeroOf(weight, row * groups + group);
    }
    for (const Part& part : parts_) {
      const int minus = HasOffsets(weight) ? kHalf : ZeroOf(weight, row * groups + part.group);
      int8_t* to = values.data() + part.begin * width + r * part.columns;
      int32_t sum = 0;
      for (size_t j = 0; j < part.columns; ++j) {
        to[j] = static_cast<int8_t>(codes[part.begin + j] - minus);
        sum += to[j];
      }
      if (HasShifts()) shifts_[part.group * width + r] -= kInputShift * sum;
    }
  }
  std::vector<float> floats;
  for (Part& part : parts_) {
    const int8_t* from = values.data() + part.begin * width;
    if (ElementBytes() == sizeof(int8_t)) {
      part.multiply->Pack(from, packed);
    } else {
      floats.assign(from, from + part.columns * width);
      part.multiply->Pack(floats.data(), packed);
    }
    part.packed = packed;
    packed += Aligned(part.multiply->PanelBytes());
  }
}

void IntegerPanel::Multiply(const TiledRows& rows, size_t tile, float* y) const {
  const auto* x = static_cast<const std::byte*>(rows.Tile(tile));
  const size_t count = kTileRows * width_, height = rows.TileHeight(tile);
  Scratch& scratch = ThreadScratch(count);
  int32_t* sums = scratch.sums.data();
  for (const Part& part : parts_) {
    const std::byte* from = x + part.begin * ElementBytes();
    if (ElementBytes() == sizeof(int8_t)) {
      part.multiply->Run(from, part.packed, sums);
    } else {
      float* floats = scratch.floats.data();
      part.multiply->Run(from, part.packed, floats);
      for (size_t i = 0; i < count; ++i)
        sums[i] = (part.begin == part.group_begin ? 0 : sums[i]) + static_cast<int32_t>(floats[i]);
    }
    if (!part.ends_group) continue;
    const size_t first = part.group * width_;
    vector::SumScaling how{.shift = shifts_.empty() ? nullptr : shifts_.data() + first,
                           .offsets = offsets_.empty() ? nullptr : offsets_.data() + first,
                           .scales = scales_.data() + first,
                           .adds = part.group > 0};
    for (size_t r = 0; r < height; ++r) {
      if (how.offsets != nullptr)
        how.factor = rows.SumOfIntegers(tile, r, part.group_begin, part.begin + part.columns);
      vector::ScaleSums(sums + r * width_, how, y + r * width_, width_);
    }
  }
  for (size_t r = 0; r < height; ++r) vector::Scale(y + r * width_, rows.RowScale(tile, r), width_);
}

}  // namespace lowbit
