// SPDX-License-Identifier: Apache-2.0
// A layer's pass over branches of a prefix tree.
#include <algorithm>
#include <array>

#include "lowbit/model/branch_path.h"
#include "lowbit/model/layer_forward.h"

namespace lowbit {
namespace {

// How many of the first branches pass through attention together.
size_t GroupSize(std::span<const TreeBranch> branches, size_t rows_per_group) {
  size_t rows = 0, count = 0;
  for (; count < branches.size(); ++count) {
    rows += branches[count].rows;
    if (count > 0 && rows > rows_per_group) break;
  }
  return count;
}

size_t RowsOf(std::span<const TreeBranch> branches) {
  return branches.back().first_row + branches.back().rows - branches.front().first_row;
}

// Where a branch's keys stand: `past` rows of the way to the group, then the group's own from `first_row` of the
// tree on. A branch before the group is on the way, where rows are positions.
BranchRows RowsOfBranch(const TreeBranch& branch, std::span<const PathRun> runs, size_t first_row,
                        size_t past) {
  BranchRows rows{branch.first_row - first_row, branch.first_row - first_row + branch.rows};
  for (const PathRun& run : runs) {
    const size_t begin = run.first_row < first_row ? run.position : past + run.first_row - first_row;
    if (!rows.keys.empty() && rows.keys.back().end == begin) {
      rows.keys.back().end += run.rows;
    } else {
      rows.keys.push_back({begin, begin + run.rows});
    }
  }
  return rows;
}

}  // namespace

void PreparedLayer::RunBranches(const RopeTable& rope, std::span<const TreeBranch> branches,
                                size_t rows_per_group, BranchPath& path, MatView<float> x,
                                LayerScratch& scratch) const {
  if (branches.empty()) return;
  const size_t first_row = branches.front().first_row;
  for (std::span<const TreeBranch> rest = branches; !rest.empty();) {
    const std::span<const TreeBranch> group = rest.first(GroupSize(rest, rows_per_group));
    rest = rest.subspan(group.size());
    const MatView<float> rows = x.Rows(group.front().first_row - first_row, RowsOf(group));
    scratch.Reserve(config_, rows.rows, !layout_.experts, group.front().first_position);
    AttendBranches(rope, group, path, rows, scratch);
    if (!layout_.experts) RunMlp(rows, scratch);
  }
  if (!layout_.experts) return;
  scratch = {};  // a mixture's own is larger
  RunExperts(x.Rows(0, RowsOf(branches)), {});
}

void PreparedLayer::AttendBranches(const RopeTable& rope, std::span<const TreeBranch> branches,
                                   BranchPath& path, MatView<float> x, LayerScratch& scratch) const {
  const size_t past = branches.front().first_position, first_row = branches.front().first_row;
  const auto part = [&](Matrix& m) { return m.view().Rows(0, x.rows); };
  const MatView<float> normed = part(scratch.normed), mixed = part(scratch.mixed), q = part(scratch.q),
                       all_k = scratch.k.view().Rows(0, past + x.rows),
                       all_v = scratch.v.view().Rows(0, past + x.rows), k = all_k.Rows(past, x.rows),
                       v = all_v.Rows(past, x.rows);
  backend_.RmsNorm(x, input_norm_, static_cast<float>(config_.rms_norm_eps), normed);
  backend_.Multiply(normed, std::array{Product{q_, q}, Product{k_, k}, Product{v_, v}});
  NormHeads(backend_, config_, q_norm_, q);
  NormHeads(backend_, config_, k_norm_, k);
  path.CopyTo(past, all_k, all_v);
  std::vector<SequenceRows> positions;
  std::vector<BranchRows> rows;
  for (const TreeBranch& branch : branches) {
    path.Enter(branch);
    rows.push_back(RowsOfBranch(branch, path.runs(), first_row, past));
    positions.push_back({rows.back().begin, rows.back().end, branch.first_position});
  }
  backend_.Rope(q, rope, positions);
  backend_.Rope(k, rope, positions);
  backend_.AttendBranches(q, all_k, all_v,
                          {config_.num_attention_heads, config_.num_key_value_heads, config_.head_dim}, rows,
                          mixed);
  path.Keep(first_row, k, v);
  backend_.Multiply(mixed, std::array{Product{o_, x, true}});
}

}  // namespace lowbit
