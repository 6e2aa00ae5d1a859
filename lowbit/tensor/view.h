// SPDX-License-Identifier: Apache-2.0
// Room tensor: what bytes mean. Views of memory owned elsewhere, and packed low-bit tensors (packed.h).
// In:  bytes and shapes.   Out: typed views; scalar pack and unpack of every format.
// Non-goals: arithmetic (kernels), files (checkpoint).
// Start reading here, then packed.h.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "lowbit/base/error.h"
#include "lowbit/tensor/dtype.h"

namespace lowbit {

// A row-major matrix: element (r, c) is data[r * stride + c]. Does not own.
template <class T>
struct MatView {
  T* data = nullptr;
  size_t rows = 0, cols = 0, stride = 0;

  MatView() = default;
  MatView(T* d, size_t r, size_t c) : MatView(d, r, c, c) {}
  MatView(T* d, size_t r, size_t c, size_t s) : data(d), rows(r), cols(c), stride(s) {}
  operator MatView<const T>() const { return {data, rows, cols, stride}; }

  T* Row(size_t r) const {
    LOWBIT_ASSERT(r < rows);
    return data + r * stride;
  }
  std::span<T> RowSpan(size_t r) const { return {Row(r), cols}; }
  MatView Rows(size_t first, size_t count) const {
    LOWBIT_ASSERT(first + count <= rows);
    return {data + first * stride, count, cols, stride};
  }
};

using Shape = std::vector<size_t>;

size_t ElementCount(std::span<const size_t> shape);
std::string ShapeText(const Shape& shape);  // "[3072, 1024]"

// A dense tensor in memory owned elsewhere (usually a mapped file), any alignment, little-endian.
struct TensorView {
  DType type = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;
  bool is_mapped = false;  // in a file's mapping: its pages can be dropped and come back

  size_t Count() const { return ElementCount(shape); }
  size_t Rows() const { return shape.empty() ? 1 : shape[0]; }
  size_t Cols() const { return shape.empty() ? 1 : ElementCount(std::span(shape).subspan(1)); }
};

// Copies elements [first, first + out.size()) of a floating tensor to f32. Exact for all three types.
void CopyToFloat(const TensorView& tensor, size_t first, std::span<float> out);

std::vector<float> ToFloatVector(const TensorView& tensor);

}  // namespace lowbit
