// SPDX-License-Identifier: Apache-2.0
// How this room uses BLAS: on one thread per call, inside parallel loops of its own.
#pragma once

#include <cstddef>

namespace lowbit::blas {

// Pins BLAS to one thread per call. Call before any of its functions; cheap. Throws Error{kResource} for a build of
// OpenBLAS without threads: its calls share work memory without a lock, so that of some in a thousand made at the
// same time the result is wrong.
void UseOneThread();

// C[m, n] -= Aᵀ B, row-major f32; A is [k, m], B is [k, n].
void SubtractOfTransposed(size_t m, size_t n, size_t k, const float* a, size_t lda, const float* b,
                          size_t ldb, float* c, size_t ldc);

// B ↦ U⁻ᵀ B, row-major f32; U is [m, m], upper triangular, B is [m, n].
void SolveTransposed(size_t m, size_t n, const float* u, size_t ldu, float* b, size_t ldb);

}  // namespace lowbit::blas
