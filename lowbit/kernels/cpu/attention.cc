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

// Columns [column, column + d) of `rows` rows, as dense rows.
void CopyHead(MatView<const float> from, size_t first, size_t rows, size_t column, size_t d, float* to) {
  for (size_t t = 0; t < rows; ++t) std::memcpy(to + t * d, from.Row(first + t) + column, d * sizeof(float));
}

// Queries of one sequence or branch, and the keys and values of all its positions: of all heads,
// [kv_heads][padded rows][head_dim], zeros behind the last position.
struct KeyedRows {
  size_t begin = 0, count = 0;  // rows of q
  size_t first_position = 0;
  size_t padded = 0;
  Buffer<float> keys = {}, values = {};

  size_t end_position() const { return first_position + count; }
  size_t first_block() const { return first_position / kAttentionBlock; }
  size_t blocks() const { return padded / kAttentionBlock - first_block(); }
};

KeyedRows MakeKeyedRows(size_t begin, size_t end, size_t positions, AttentionShape shape) {
  KeyedRows rows{begin, end - begin, positions - (end - begin), RoundUp(positions)};
  rows.keys = Buffer<float>(shape.kv_heads * rows.padded * shape.head_dim);
  rows.values = Buffer<float>(shape.kv_heads * rows.padded * shape.head_dim);
  return rows;
}

// One head's keys and values, from runs of rows.
void PackHead(MatView<const float> k, MatView<const float> v, std::span<const RowRun> runs, size_t head,
              size_t d, KeyedRows& to) {
  float* keys = to.keys.data() + head * to.padded * d;
  float* values = to.values.data() + head * to.padded * d;
  size_t position = 0;
  for (const RowRun& run : runs) {
    CopyHead(k, run.begin, run.end - run.begin, head * d, d, keys + position * d);
    CopyHead(v, run.begin, run.end - run.begin, head * d, d, values + position * d);
    position += run.end - run.begin;
  }
  std::fill(keys + position * d, keys + to.padded * d, 0.0f);
  std::fill(values + position * d, values + to.padded * d, 0.0f);
}

// Query heads of one key/value head that pass through a product together: one packing of the keys serves them
// all, and the scores of two blocks still fit a core's cache.
size_t HeadsPerTask(size_t queries_per_kv) {
  return queries_per_kv % 2 == 0 ? 2 : 1;
}

struct BlockScratch {
  Buffer<float> queries, scores, result, sums;
};

// All queries of `sequences`, whose keys are packed.
class BlockAttention {
 public:
  BlockAttention(MatView<const float> q, AttentionShape shape, std::span<const KeyedRows> sequences,
                 MatView<float> out)
      : q_(q),
        out_(out),
        sequences_(sequences),
        d_(shape.head_dim),
        queries_per_kv_(shape.heads / shape.kv_heads),
        together_(HeadsPerTask(queries_per_kv_)),
        head_tasks_(shape.heads / together_),
        block_rows_(together_ * kAttentionBlock),
        scale_(1.0f / std::sqrt(static_cast<float>(d_))) {
    for (const KeyedRows& sequence : sequences) {
      first_task_.push_back(first_task_.back() + sequence.blocks() * head_tasks_);
      longest_ = std::max(longest_, sequence.padded);
    }
  }

  void Run(const Threads& threads) {
    scratch_.resize(static_cast<size_t>(threads.count()));
    threads.ForSlots(first_task_.back(), [&](size_t task, size_t slot) {
      // Late blocks attend to most keys: taking them first keeps the threads busy until the end.
      const size_t index = first_task_.back() - 1 - task;
      const size_t s = static_cast<size_t>(std::upper_bound(first_task_.begin(), first_task_.end(), index) -
                                           first_task_.begin()) -
                       1;
      const size_t block = (index - first_task_[s]) / head_tasks_,
                   first_head = (index - first_task_[s]) % head_tasks_ * together_;
      Attend(sequences_[s], sequences_[s].first_block() + block, first_head, scratch_[slot]);
    });
  }

 private:
  void Attend(const KeyedRows& sequence, size_t block, size_t first_head, BlockScratch& mine) const {
    const size_t begin = block * kAttentionBlock;  // position
    const size_t keys = begin + kAttentionBlock;   // the block sees keys [0, keys); later ones are masked
    const size_t first =
        std::max(begin, sequence.first_position) - begin;  // rows of the block that are asked
    const size_t last = std::min(keys, sequence.end_position()) - begin;
    const size_t row =
        sequence.begin + begin + first - sequence.first_position;  // of q, of the first of them
    const size_t kv = first_head / queries_per_kv_ * sequence.padded * d_;
    if (mine.queries.size() == 0) {
      mine.queries = Buffer<float>(block_rows_ * d_);
      mine.result = Buffer<float>(block_rows_ * d_);
      mine.scores = Buffer<float>(block_rows_ * longest_);
      mine.sums = Buffer<float>(block_rows_);
    }
    for (size_t h = 0; h < together_; ++h) {
      float* queries = mine.queries.data() + h * kAttentionBlock * d_;
      std::fill(queries, queries + first * d_, 0.0f);
      CopyHead(q_, row, last - first, (first_head + h) * d_, d_, queries + first * d_);
      std::fill(queries + last * d_, queries + kAttentionBlock * d_, 0.0f);
    }
    onednn::Sgemm(true, block_rows_, keys, d_, scale_, mine.queries.data(), d_, sequence.keys.data() + kv, d_,
                  0.0f, mine.scores.data(), keys);
    for (size_t r = 0; r < block_rows_; ++r) {
      float* scores = mine.scores.data() + r * keys;
      const size_t visible = begin + r % kAttentionBlock + 1;
      mine.sums[r] = vector::SoftmaxNumerators(scores, visible);
      std::fill(scores + visible, scores + keys, 0.0f);
    }
    onednn::Sgemm(false, block_rows_, d_, keys, 1.0f, mine.scores.data(), keys, sequence.values.data() + kv,
                  d_, 0.0f, mine.result.data(), d_);
    for (size_t r = 0; r < block_rows_; ++r) {
      const size_t t = r % kAttentionBlock, head = first_head + r / kAttentionBlock;
      if (t < first || t >= last) continue;
      float* result = mine.result.data() + r * d_;
      vector::Scale(result, 1.0f / mine.sums[r], d_);
      std::memcpy(out_.Row(row + t - first) + head * d_, result, d_ * sizeof(float));
    }
  }

  MatView<const float> q_;
  MatView<float> out_;
  std::span<const KeyedRows> sequences_;
  size_t d_, queries_per_kv_, together_, head_tasks_, block_rows_;
  float scale_;
  std::vector<size_t> first_task_ = {0};
  size_t longest_ = 0;
  std::vector<BlockScratch> scratch_;
};

// The branches packed and attended to together.
void AttendBundle(const Threads& threads, MatView<const float> q, MatView<const float> k,
                  MatView<const float> v, AttentionShape shape, std::span<const BranchRows> branches,
                  MatView<float> out) {
  std::vector<KeyedRows> packed;
  for (const BranchRows& b : branches) packed.push_back(MakeKeyedRows(b.begin, b.end, b.Positions(), shape));
  threads.For(branches.size() * shape.kv_heads, [&](size_t i) {
    const size_t b = i / shape.kv_heads;
    PackHead(k, v, branches[b].keys, i % shape.kv_heads, shape.head_dim, packed[b]);
  });
  BlockAttention(q, shape, packed, out).Run(threads);
}

}  // namespace

void BlockedAttention(const Threads& threads, MatView<const float> q, MatView<const float> k,
                      MatView<const float> v, AttentionShape shape, std::span<const SequenceRows> sequences,
                      MatView<float> out) {
  std::vector<BranchRows> branches;
  for (const SequenceRows& s : sequences) branches.push_back({s.begin, s.end, {{s.begin, s.end}}});
  AttendBundle(threads, q, k, v, shape, branches, out);
}

void BlockedBranchAttention(const Threads& threads, MatView<const float> q, MatView<const float> k,
                            MatView<const float> v, AttentionShape shape,
                            std::span<const BranchRows> branches, MatView<float> out) {
  while (!branches.empty()) {
    size_t bundle = 0;
    for (size_t rows = 0; bundle < branches.size(); ++bundle) {
      rows += RoundUp(branches[bundle].Positions());
      if (bundle > 0 && rows > kBranchKeyRows) break;
    }
    AttendBundle(threads, q, k, v, shape, branches.first(bundle), out);
    branches = branches.subspan(bundle);
  }
}

}  // namespace lowbit
