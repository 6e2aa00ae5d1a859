// SPDX-License-Identifier: Apache-2.0
// Σ x xᵀ over the rows of a batch, on tiles of the upper triangle.
#pragma once

#include "lowbit/kernels/backend.h"

namespace lowbit {

// Backend::AddGram: gram[i, j] += Σ_t x[t, i] x[t, j] for i <= j, x [T, n], gram [n, n]. f32 sums over chunks
// of kGramRows rows, f64 sums over chunks. With kBF16 the factors are rounded to bf16 where oneDNN multiplies
// that here, and are f32 elsewhere.
void AddGramTiles(const Threads& threads, Compute compute, MatView<const float> x, MatView<double> gram);

}  // namespace lowbit
