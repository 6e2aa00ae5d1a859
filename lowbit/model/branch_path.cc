// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/branch_path.h"

#include <algorithm>

#include "lowbit/base/error.h"

namespace lowbit {

void PathRuns::Enter(const TreeBranch& branch) {
  LOWBIT_ASSERT(branch.first_position <= positions());
  while (!runs_.empty() && runs_.back().position >= branch.first_position) runs_.pop_back();
  if (!runs_.empty()) runs_.back().rows = branch.first_position - runs_.back().position;
  runs_.push_back({branch.first_position, branch.first_row, branch.rows});
}

size_t PathRuns::RowOf(size_t position) const {
  LOWBIT_ASSERT(position < positions());
  const auto behind = std::ranges::upper_bound(runs_, position, {}, &PathRun::position);
  const PathRun& run = *(behind - 1);
  return run.first_row + (position - run.position);
}

void BranchPath::Keep(size_t first_row, MatView<const float> k, MatView<const float> v) {
  for (const PathRun& run : runs_.runs()) {
    if (run.first_row < first_row) continue;
    for (size_t i = 0; i < run.rows; ++i) {
      std::ranges::copy(k.RowSpan(run.first_row - first_row + i), keys_.view().Row(run.position + i));
      std::ranges::copy(v.RowSpan(run.first_row - first_row + i), values_.view().Row(run.position + i));
    }
  }
}

void BranchPath::CopyTo(size_t positions, MatView<float> k, MatView<float> v) const {
  std::copy_n(keys_.data(), positions * keys_.cols(), k.data);
  std::copy_n(values_.data(), positions * values_.cols(), v.data);
}

}  // namespace lowbit
