// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/blas.h"

#include <cblas.h>

#include "lowbit/base/error.h"

namespace lowbit::blas {

void UseOneThread() {
  static const bool done = [] {
    if (openblas_get_parallel() == 0) {
      throw Error(
          ErrorKind::kResource,
          "the OpenBLAS of this system is its serial build, which is not safe to call from several threads, "
          "expected one with threads (Debian: libopenblas0-pthread)");
    }
    openblas_set_num_threads(1);
    return true;
  }();
  static_cast<void>(done);
}

void SubtractOfTransposed(size_t m, size_t n, size_t k, const float* a, size_t lda, const float* b,
                          size_t ldb, float* c, size_t ldc) {
  UseOneThread();
  const auto i = [](size_t v) { return static_cast<int>(v); };
  cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, i(m), i(n), i(k), -1.0f, a, i(lda), b, i(ldb), 1.0f, c,
              i(ldc));
}

void SolveTransposed(size_t m, size_t n, const float* u, size_t ldu, float* b, size_t ldb) {
  UseOneThread();
  const auto i = [](size_t v) { return static_cast<int>(v); };
  cblas_strsm(CblasRowMajor, CblasLeft, CblasUpper, CblasTrans, CblasNonUnit, i(m), i(n), 1.0f, u, i(ldu), b,
              i(ldb));
}

}  // namespace lowbit::blas
