// SPDX-License-Identifier: Apache-2.0
// awq_loss=hessian_rows: how much an error of one output of q, k, v, gate or up moves what its module puts out, so that
// Σ ρ_i e_i C e_iᵀ over the rows e_i of W - Ŵ stands in for running the module. docs/methods.md has the formulas.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lowbit/model/staged_layer.h"

namespace lowbit {

// ρ of every row, by linear relative to the layer.
using RowWeights = std::map<std::string, std::vector<float>, std::less<>>;

// Both look at job.sequences of `inputs` [rows, hidden], what the module's norm gives, and compute in f32 whatever the
// backend does.

// q and k: one ρ for a head, v: one for every row; measured, by adding 1 % of noise to one of the three at a time.
RowWeights AttentionRowWeights(const StagedLayer::Job& job, const LayerWeights& weights, Activations& inputs);

// gate and up, to first order; of a mixture those of each expert, over the rows that go to it.
RowWeights MlpRowWeights(const StagedLayer::Job& job, const LayerWeights& weights, Activations& inputs);

}  // namespace lowbit
