// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/cpu/attention.h"

#include <algorithm>
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

// Query heads of one key/value head that pass through a product together: one packing of the keys serves them
// all, and the scores of two blocks still fit a core's cache.
size_t HeadsPerTask(size_t queries_per_kv) {
  return queries_per_kv % 2 == 0 ? 2 : 1;
}

struct BlockScratch {
  Buffer<float> queries, scores, result, sums;
};

}  // namespace

void BlockedAttention(const Threads& threads, MatView<const float> q, MatView<const float> k,
                      MatView<const float> v, AttentionShape shape, std::span<const SequenceRows> sequences,
                      MatView<float> out) {
  const size_t d = shape.head_dim, queries_per_kv = shape.heads / shape.kv_heads;
  const size_t together = HeadsPerTask(queries_per_kv), head_tasks = shape.heads / together,
               block_rows = together * kAttentionBlock;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));

  std::vector<PackedSequence> packed(sequences.size());
  std::vector<size_t> first_task(sequences.size() + 1, 0);
  size_t longest = 0;
  for (size_t s = 0; s < sequences.size(); ++s) {
    const size_t padded = RoundUp(sequences[s].end - sequences[s].begin);
    packed[s].keys = Buffer<float>(shape.kv_heads * padded * d);
    packed[s].values = Buffer<float>(shape.kv_heads * padded * d);
    first_task[s + 1] = first_task[s] + padded / kAttentionBlock * head_tasks;
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
    const size_t block = (index - first_task[s]) / head_tasks,
                 first_head = (index - first_task[s]) % head_tasks * together;
    const size_t rows = sequence.end - sequence.begin, padded = RoundUp(rows);
    const size_t begin = block * kAttentionBlock, count = std::min(kAttentionBlock, rows - begin);
    const size_t keys = begin + kAttentionBlock;  // the block sees keys [0, keys); later ones are masked
    const size_t kv = first_head / queries_per_kv * padded * d;

    BlockScratch& mine = scratch[slot];
    if (mine.queries.size() == 0) {
      mine.queries = Buffer<float>(block_rows * d);
      mine.result = Buffer<float>(block_rows * d);
      mine.scores = Buffer<float>(block_rows * longest);
      mine.sums = Buffer<float>(block_rows);
    }
    for (size_t h = 0; h < together; ++h) {
      CopyHead(q, sequence.begin + begin, count, (first_head + h) * d, d, kAttentionBlock,
               mine.queries.data() + h * kAttentionBlock * d);
    }
    onednn::Sgemm(true, block_rows, keys, d, scale, mine.queries.data(), d, packed[s].keys.data() + kv, d,
                  0.0f, mine.scores.data(), keys);
    for (size_t r = 0; r < block_rows; ++r) {
      float* row = mine.scores.data() + r * keys;
      const size_t visible = begin + r % kAttentionBlock + 1;
      mine.sums[r] = vector::SoftmaxNumerators(row, visible);
      std::fill(row + visible, row + keys, 0.0f);
    }
    onednn::Sgemm(false, block_rows, d, keys, 1.0f, mine.scores.data(), keys, packed[s].values.data() + kv, d,
                  0.0f, mine.result.data(), d);
    for (size_t r = 0; r < block_rows; ++r) {
      const size_t t = r % kAttentionBlock, head = first_head + r / kAttentionBlock;
      if (t >= count) continue;
      float* row = mine.result.data() + r * d;
      vector::Scale(row, 1.0f / mine.sums[r], d);
      std::memcpy(out.Row(sequence.begin + begin + t) + head * d, row, d * sizeof(float));
    }
  });
}

}  // namespace lowbit
