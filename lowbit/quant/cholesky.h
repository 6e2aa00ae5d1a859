// SPDX-License-Identifier: Apache-2.0
// The dense solver beneath GPTQ: Cholesky factor and triangular inverse in f64, in place, on tiles of one
// fixed size. LAPACK and BLAS run single-threaded on a tile each, tiles run in parallel, and every tile is
// summed in one order: the number of threads does not change a bit. Only the lower triangle, diagonal
// included, is read or written; the caller may keep something else above it.
#pragma once

#include "lowbit/base/threads.h"
#include "lowbit/tensor/view.h"

namespace lowbit {

// A = L Lᵀ: replaces the lower triangle of A [n, n] by L. False, with the triangle spoilt, unless A is
// positive definite. n³/3 flop.
[[nodiscard]] bool CholeskyInPlace(MatView<double> a, const Threads& threads);

// L ↦ L⁻¹ for a lower triangular L [n, n] whose diagonal is not 0. n³/3 flop.
void InvertLowerInPlace(MatView<double> l, const Threads& threads);

}  // namespace lowbit
