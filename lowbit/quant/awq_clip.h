// SPDX-License-Identifier: Apache-2.0
// AWQ's search for a bound of the weights of every group, after the scales were applied. Source: llm-awq's
// auto_clip, with all tokens instead of 512: the group's block of the Gram matrix holds them.
#pragma once

#include <string_view>

#include "lowbit/kernels/backend.h"
#include "lowbit/quant/spec.h"

namespace lowbit {

// Whether llm-awq clips a linear of this name: no query or key projection. A substring counts, as there: any
// name that holds "q_", "k_", "query", "key" or "Wqkv" is left out, so that "block_sparse_moe.…" is too.
bool AwqClips(std::string_view linear);

// What a matrix reads once its inputs were divided by `scales`.
struct ClipInputs {
  MatView<const double> gram;     // Σ x xᵀ of the unscaled inputs, upper triangle
  uint64_t tokens = 0;            // > 0
  std::span<const float> scales;  // [columns]; empty: all 1
};

// Bounds [rows, groups]: of max|w| · (1 - i / 20), i = 0 … 9, the first with the smallest change of the group's
// own part of the output, Σ_t (x_t · (Q(clamp(w)) - w))². `weights` with the scales in them. Throws
// Error{kNumeric} at `place` when a scale does not fit its type or an error is not finite.
Matrix SearchClip(MatView<const float> weights, const ClipInputs& inputs, const WeightSpec& spec,
                  const Backend& backend, const Place& place);

// Clamps every group of `weights` to ± its bound.
void ClampToBounds(MatView<float> weights, MatView<const float> bounds, size_t group_size);

}  // namespace lowbit
