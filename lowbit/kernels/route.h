// SPDX-License-Identifier: Apache-2.0
// Which rows go to which expert of a mixture. The same for every backend: little work, and a choice that
// must not depend on one.
#pragma once

#include <cstdint>
#include <vector>

#include "lowbit/tensor/view.h"

namespace lowbit {

// The rows that chose an expert, ascending, and how much its output counts for each of them.
struct ExpertRows {
  std::vector<uint32_t> rows;
  std::vector<float> weights;
};

// logits [T, experts] -> one entry per expert. Softmax over all experts in f32, then the `active` largest
// (lowest id on ties); with `normalize` their weights sum to 1. Source: Qwen3-MoE, docs/models.md.
// A row with a NaN logit chooses experts 0 .. active - 1 with weight NaN.
std::vector<ExpertRows> RouteRows(MatView<const float> logits, size_t active, bool normalize);

}  // namespace lowbit
