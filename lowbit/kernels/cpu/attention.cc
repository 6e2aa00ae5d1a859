// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/cpu/attention.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "lowbit/kernels/cpu/onednn.h"
#include "lowbit/kernels/cpu/vector_ops.h"

namespace lowbit {
namespace {

size_t RoundUp(size_t n) {
  return (n + kAttentionBlock - 1) / kAttentionBlock * kAttentionBlock;
}

// Copies columns [column, column + d) of `rows` rows into dense rows, and zeroes the rows up to `padded`.
void CopyHead(MatView<const float> from, size_t first, size_t rows, size_t column, size_t d, size_t padded,
              float* to) {
  for (size_t t = 0; t < rows; ++t) std::memcpy(to + t * d, from.Row(first + t) + column, d * sizeof(float));
  std::fill(to + rows * d, to + padded * d, 0.0f);
}

// Keys and values of all heads of one sequence, [kv_heads][padded rows][head_dim].
struct PackedSequence {
  Buffer<float> keys, values;
};

struct BlockScratch {
  Buffer<float> queries, scores, result;
};

}  // namespace

void BlockedAttention(const Threads& threads, MatView<const float> q, MatView<const float> k,
                      MatView<const float> v, AttentionShape shape, std::span<const SequenceRows> sequences,
                      MatView<float> out) {
  const size_t d = shape.head_dim, queries_per_kv = shape.heads / shape.kv_heads;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));

  std::vector<PackedSequence> packed(sequences.size());
  std::vector<size_t> first_task(sequences.size() + 1, 0);
  size_t longest = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const size_t padded = RoundUp(sequences[s].end - sequences[s].begin);
    packed[s].keys = Buffer<float>(shape.kv_heads * padded * d);
    packed[s].values = Buffer<float>(shape.kv_heads * padded * d);
    first_task[s + 1] = first_task[s] + padded / kAttentionBlock * shape.heads;
    longest = std::max(longest, padded);
  }
  threads.For(sequences.size() * shape.kv_heads, [&](size_t i) {
    const size_t s = i / shape.kv_heads, head = i % shape.kv_heads;
    const size_t rows = sequences[s].end - sequences[s].begin, padded = RoundUp(rows);
    CopyHead(k, sequences[s].begin, rows, head * d, d, padded, packed[s].keys.data() + head * padded * d);
    CopyHead(v, sequences[s].begin, rows, head * d, d, padded, packed[s].values.data() + head * padded * d);
  });

  std::vector<BlockScratch> scratch(static_cast<size_t>(threads.count()));
  threads.ForSlots(first_task.back(), [&](size_t task, size_t slot) {
    // Late blocks attend to most keys: taking them first keeps the threads busy until the end.
    const size_t index = first_task.back() - 1 - task;
    const size_t s = static_cast<size_t>(std::upper_bound(first_task.begin(), first_task.end(), index) -
                                         first_task.begin()) -
                     1;
    const SequenceRows& sequence = sequences[s];
    const size_t block = (index - first_task[s]) / shape.heads, head = (index - first_task[s]) % shape.heads;
    const size_t rows = sequence.end - sequence.begin, padded = RoundUp(rows);
    const size_t begin = block * kAttentionBlock, count = std::min(kAttentionBlock, rows - begin);
    const size_t keys = begin + kAttentionBlock;  // the block sees keys [0, keys); later ones are masked
    const size_t kv = head / queries_per_kv * padded * d;

    BlockScratch& mine = scratch[slot];
    if (mine.queries.size() == 0) {
      mine.queries = Buffer<float>(kAttentionBlock * d);
      mine.result = Buffer<float>(kAttentionBlock * d);
      mine.scores = Buffer<float>(kAttentionBlock * longest);
    }
    CopyHead(q, sequence.begin + begin, count, head * d, d, kAttentionBlock, mine.queries.data());
    onednn::Sgemm(true, kAttentionBlock, keys, d, scale, mine.queries.data(), d, packed[s].keys.data() + kv,
                  d, 0.0f, mine.scores.data(), keys);
    std::array<float, kAttentionBlock> sums{};
    for (size_t r = 0; r < kAttentionBlock; ++r) {
      float* row = mine.scores.data() + r * keys;
      const size_t visible = begin + r + 1;
      sums[r] = vector::SoftmaxNumerators(row, visible);
      std::fill(row + visible, row + keys, 0.0f);
    }
    onednn::Sgemm(false, kAttentionBlock, d, keys, 1.0f, mine.scores.data(), keys,
                  packed[s].values.data() + kv, d, 0.0f, mine.result.data(), d);
    for (size_t r = 0; r < count; ++r) {
      float* row = mine.result.data() + r * d;
      vector::Scale(row, 1.0f / sums[r], d);
      std::memcpy(out.Row(sequence.begin + begin + r) + head * d, row, d * sizeof(float));
    }
  });
}

}  // namespace lowbit
