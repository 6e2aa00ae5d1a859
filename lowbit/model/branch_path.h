// SPDX-License-Identifier: Apache-2.0
// The way from the root of a prefix tree to the end of a branch.
#pragma once

#include <span>
#include <vector>

#include "lowbit/model/prefix_tree.h"
#include "lowbit/tensor/buffer.h"

namespace lowbit {

// Positions [position, position + rows) of the way stand in rows [first_row, first_row + rows) of the tree.
struct PathRun {
  size_t position = 0, first_row = 0, rows = 0;
};

// Which rows of a tree the way goes through. Branches are entered in the tree's order.
class PathRuns {
 public:
  void Enter(const TreeBranch& branch);
  std::span<const PathRun> runs() const { return runs_; }
  size_t positions() const { return runs_.empty() ? 0 : runs_.back().position + runs_.back().rows; }
  size_t RowOf(size_t position) const;

 private:
  std::vector<PathRun> runs_;
};

// The same with keys and values of one layer, by position: what branches that come later in the tree look back at.
class BranchPath {
 public:
  // For ways of up to `longest` positions.
  BranchPath(size_t longest, size_t key_value_size)
      : keys_(longest, key_value_size), values_(longest, key_value_size) {}

  void Clear() { runs_ = {}; }
  void Enter(const TreeBranch& branch) { runs_.Enter(branch); }
  std::span<const PathRun> runs() const { return runs_.runs(); }

  // Takes keys and values of the way's rows from `first_row` of the tree on, which k and v hold from row 0.
  void Keep(size_t first_row, MatView<const float> k, MatView<const float> v);
  // Those of positions [0, positions), into the first rows of k and v.
  void CopyTo(size_t positions, MatView<float> k, MatView<float> v) const;

 private:
  PathRuns runs_;
  Matrix keys_, values_;
};

}  // namespace lowbit
