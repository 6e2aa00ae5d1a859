// SPDX-License-Identifier: Apache-2.0
// All that lowbit uses of oneDNN, in one file for both of its C++ APIs (2.x on Debian 12, 3.x on Ubuntu
// 24.04). Every call runs on the calling thread alone: parallel loops are ours, so that the number of
// threads cannot change how a sum is ordered.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace lowbit::onednn {

enum class Element : uint8_t { kF32, kBF16, kU8S8 };

std::string IsaName();  // "avx512_core_amx"; what oneDNN dispatches to here
bool HasFastBF16();     // AMX, or a core whose bf16 dot product outruns its f32 product
bool SupportsBF16();    // has any bf16 product
// Whether products of int8 are exact: older instructions add pairs in 16 bits, which may not hold them.
bool HasExactIntegers();

// y[rows, n] = x[rows, k] · panel, where panel holds a row-major W[n, k] in oneDNN's own layout.
// x and W are of type `element` and y is f32; of kU8S8 x is u8, W s8 and y int32 (signed x would have the library add
// up W as well, twelve times slower to pack). Rows of W and y are dense, those of x lie `x_stride` elements apart.
// Thread-safe.
class MatMul {
 public:
  // Made once per shape and kept for the life of the process: making one compiles a kernel.
  static const MatMul& Get(Element element, size_t rows, size_t k, size_t n, size_t x_stride);
  static const MatMul& Get(Element element, size_t rows, size_t k, size_t n) {
    return Get(element, rows, k, n, k);
  }
  ~MatMul();

  size_t PanelBytes() const;
  void Pack(const void* w, void* panel) const;
  void Run(const void* x, const void* panel, void* y) const;

 private:
  MatMul(Element element, size_t rows, size_t k, size_t n, size_t x_stride);
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// C[m, n] = alpha A[m, k] B + beta C, row-major f32; B is [k, n], or [n, k] when b_transposed.
void Sgemm(bool b_transposed, size_t m, size_t n, size_t k, float alpha, const float* a, size_t lda,
           const float* b, size_t ldb, float beta, float* c, size_t ldc);

}  // namespace lowbit::onednn
