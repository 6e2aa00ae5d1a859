// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/compare_cells.h"

namespace lowbit {

TaskComparison CompareCells(const CellRow& a, const CellRow& b) {
  const auto keeps = [](const CellRow& row) {
    return row.status == CellStatus::kDone && !(row.outcomes == Outcomes());
  };
  if (!keeps(a) || !keeps(b)) return {};
  const Place place = Place(b.model).Item(fmt::format("'{}' and '{}' on {}", a.recipe, b.recipe, b.task));
  return CompareOutcomes(a.outcomes, b.outcomes, a.metrics.front().name, place);
}

}  // namespace lowbit
