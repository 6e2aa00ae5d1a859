// SPDX-License-Identifier: Apache-2.0
// Owned, 64-byte aligned memory for kernels. Not initialised: a large buffer costs nothing until touched, and
// goes back to the system as soon as it is dropped.
#pragma once

#include <memory>
#include <type_traits>

#include "lowbit/tensor/view.h"

namespace lowbit {

inline constexpr size_t kAlignment = 64;  // one cache line, one AVX-512 vector

// `bytes` > 0. Throws std::bad_alloc.
void* AllocateAligned(size_t bytes);
void FreeAligned(void* memory, size_t bytes);

template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  explicit Buffer(size_t count) : size_(count) {
    if (count == 0) return;
    data_ = {static_cast<T*>(AllocateAligned(count * sizeof(T))), Free{count * sizeof(T)}};
  }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  size_t size() const { return size_; }
  T& operator[](size_t i) { return data_.get()[i]; }
  const T& operator[](size_t i) const { return data_.get()[i]; }
  operator std::span<T>() { return {data(), size_}; }
  operator std::span<const T>() const { return {data(), size_}; }

 private:
  struct Free {
    size_t bytes = 0;
    void operator()(T* p) const { FreeAligned(p, bytes); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

// A matrix that owns its memory. Not initialised.
class Matrix {
 public:
  Matrix() = default;
  Matrix(size_t rows, size_t cols) : buffer_(rows * cols), rows_(rows), cols_(cols) {}
  size_t rows() const { return rows_; }
  size_t cols() const { return cols_; }
  float* data() { return buffer_.data(); }
  const float* data() const { return buffer_.data(); }
  MatView<float> view() { return {buffer_.data(), rows_, cols_}; }
  MatView<const float> view() const { return {buffer_.data(), rows_, cols_}; }

 private:
  Buffer<float> buffer_;
  size_t rows_ = 0, cols_ = 0;
};

}  // namespace lowbit
