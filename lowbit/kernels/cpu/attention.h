// SPDX-License-Identifier: Apache-2.0
// Causal attention in blocks of query rows.
#pragma once

#include <span>

#include "lowbit/kernels/backend.h"

namespace lowbit {

// As Backend::Attention. For each block of kAttentionBlock queries of one head the scores against all keys
// up to the block's end are held, nothing more: block × positions f32 per thread. Blocks start at multiples
// of kAttentionBlock of the sequence, tails are padded: a row's result depends on its position only.
inline constexpr size_t kAttentionBlock = 64;
void BlockedAttention(const Threads& threads, MatView<const float> q, MatView<const float> k,
                      MatView<const float> v, AttentionShape shape, std::span<const SequenceRows> sequences,
                      MatView<float> out);

// As Backend::AttendBranches. The same blocks: a branch's first one begins at the multiple of kAttentionBlock below
// its first position, with rows of zeros where others have theirs. Branches go in bundles of up to
// kBranchKeyRows packed keys, or one.
inline constexpr size_t kBranchKeyRows = 4096;
void BlockedBranchAttention(const Threads& threads, MatView<const float> q, MatView<const float> k,
                            MatView<const float> v, AttentionShape shape,
                            std::span<const BranchRows> branches, MatView<float> out);

}  // namespace lowbit
