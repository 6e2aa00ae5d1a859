// SPDX-License-Identifier: Apache-2.0
// Two heads side by side, a panel of the vocabulary at a time.
#pragma once

#include <vector>

#include "lowbit/kernels/backend.h"

namespace lowbit {

// Hidden states and the head that turns them into logits.
struct HeadInput {
  MatView<const float> x;  // [T, in]
  const Weight& head;      // [vocabulary, in]
};

// Backend::CompareHeads. Each panel of a head is prepared once for some thousand rows, and only once for both
// when they are the same weight.
std::vector<RowDivergence> ComparePanels(const Threads& threads, Compute compute, const HeadInput& p,
                                         const HeadInput& q);

}  // namespace lowbit
