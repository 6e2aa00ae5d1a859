// SPDX-License-Identifier: Apache-2.0
// What hidden states say through a head, a panel of the vocabulary at a time: panels are summarised on their own, and
// summaries joined in the order of panels. Each panel is prepared once for some thousand rows.
#pragma once

#include <vector>

#include "lowbit/kernels/backend.h"

namespace lowbit {

// Hidden states and the head that turns them into logits.
struct HeadInput {
  MatView<const float> x;  // [T, in]
  const Weight& head;      // [vocabulary, in]
};

// Backend::ScoreTargets.
std::vector<TokenScore> ScorePanels(const Threads& threads, Compute compute, const HeadInput& input,
                                    std::span<const int32_t> targets);

// Backend::CompareHeads, with `targets` of q. A panel is prepared only once for both when they are the same weight.
std::vector<ComparedRow> ComparePanels(const Threads& threads, Compute compute, const HeadInput& p,
                                       const HeadInput& q, std::span<const int32_t> targets);

}  // namespace lowbit
