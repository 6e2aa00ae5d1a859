// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/cholesky.h"

#include <cblas.h>
#include <lapacke.h>

#include <algorithm>
#include <cmath>

#include "lowbit/base/error.h"
#include "lowbit/quant/blas.h"
#include "lowbit/tensor/buffer.h"

namespace lowbit {
namespace {

// Three tiles of 288 KiB fit a core's cache; a product of two is 14 Mflop, far above what starting it costs.
constexpr size_t kTile = 192;

int Int(size_t v) {
  return static_cast<int>(v);
}

// A matrix seen as tiles; the last row and column of them may be narrower.
class Tiles {
 public:
  explicit Tiles(MatView<double> a) : a_(a) {
    LOWBIT_ASSERT(a.rows == a.cols);
    blas::UseOneThread();
  }
  size_t count() const { return (a_.rows + kTile - 1) / kTile; }
  double* At(size_t i, size_t j) const { return a_.data + i * kTile * a_.stride + j * kTile; }
  size_t Size(size_t i) const { return std::min(kTile, a_.rows - i * kTile); }
  size_t stride() const { return a_.stride; }

 private:
  MatView<double> a_;
};

// A row-major lower triangle is a column-major upper one: no copy is made.
bool FactorTile(const Tiles& a, size_t k) {
  double* tile = a.At(k, k);
  if (LAPACKE_dpotrf(LAPACK_COL_MAJOR, 'U', Int(a.Size(k)), tile, Int(a.stride())) != 0) return false;
  for (size_t i = 0; i < a.Size(k); ++i) {
    const double pivot = tile[i * a.stride() + i];
    if (!(pivot > 0 && std::isfinite(pivot))) return false;
  }
  return true;
}

// A_ij -= A_ik A_jkᵀ.
void SubtractProduct(const Tiles& a, size_t i, size_t j, size_t k) {
  const int ld = Int(a.stride());
  if (i == j) {
    cblas_dsyrk(CblasRowMajor, CblasLower, CblasNoTrans, Int(a.Size(i)), Int(a.Size(k)), -1.0, a.At(i, k), ld,
                1.0, a.At(i, i), ld);
  } else {
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, Int(a.Size(i)), Int(a.Size(j)), Int(a.Size(k)), -1.0,
                a.At(i, k), ld, a.At(j, k), ld, 1.0, a.At(i, j), ld);
  }
}

// Column j of the inverse X of L, below the diagonal, once all columns behind it are done:
//   X_ij = -(Σ_{j<k<=i} X_ik L_kj) L_jj⁻¹.
// `column` is a copy of L_kj, k > j, [.., kTile]: every X_ij takes the place of an L_ij that others read.
void InvertTile(const Tiles& l, size_t i, size_t j, const double* column) {
  const int rows = Int(l.Size(i)), cols = Int(l.Size(j)), ld = Int(l.stride());
  const auto copied = [&](size_t k) { return column + (k - j - 1) * kTile * kTile; };
  double* x = l.At(i, j);
  cblas_dtrmm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, rows, cols, -1.0, l.At(i, i),
              ld, x, ld);
  for (size_t k = j + 1; k < i; ++k) {
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, rows, cols, Int(kTile), -1.0, l.At(i, k), ld,
                copied(k), Int(kTile), 1.0, x, ld);
  }
  cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasNoTrans, CblasNonUnit, rows, cols, 1.0, l.At(j, j),
              ld, x, ld);
}

}  // namespace

bool CholeskyInPlace(MatView<double> a_view, const Threads& threads) {
  const Tiles a(a_view);
  const size_t n = a.count();
  for (size_t k = 0; k < n; ++k) {
    if (!FactorTile(a, k)) return false;
    const size_t below = n - k - 1;
    threads.For(below, [&](size_t index) {
      const size_t i = k + 1 + index;
      cblas_dtrsm(CblasRowMajor, CblasRight, CblasLower, CblasTrans, CblasNonUnit, Int(a.Size(i)),
                  Int(a.Size(k)), 1.0, a.At(k, k), Int(a.stride()), a.At(i, k), Int(a.stride()));
    });
    threads.For(below * below, [&](size_t index) {
      const size_t i = k + 1 + index / below, j = k + 1 + index % below;
      if (j <= i) SubtractProduct(a, i, j, k);
    });
  }
  return true;
}

void InvertLowerInPlace(MatView<double> l_view, const Threads& threads) {
  const Tiles l(l_view);
  const size_t n = l.count();
  Buffer<double> column((n - 1) * kTile * kTile);
  for (size_t j = n; j-- > 0;) {
    const size_t below = n - j - 1;
    threads.For(below, [&](size_t index) {
      const size_t k = j + 1 + index;
      for (size_t r = 0; r < l.Size(k); ++r)
        std::copy_n(l.At(k, j) + r * l.stride(), l.Size(j), column.data() + (index * kTile + r) * kTile);
    });
    threads.For(below, [&](size_t index) { InvertTile(l, n - 1 - index, j, column.data()); });
    const int info = LAPACKE_dtrtri(LAPACK_COL_MAJOR, 'U', 'N', Int(l.Size(j)), l.At(j, j), Int(l.stride()));
    if (info != 0)
      throw Error(ErrorKind::kInternal, fmt::format("LAPACK cannot invert a triangle: status {}", info));
  }
}

}  // namespace lowbit
