// SPDX-License-Identifier: Apache-2.0
// Two cells of one task in results.db, question by question or window by window.
#pragma once

#include "lowbit/eval/comparison.h"
#include "lowbit/study/results_db.h"

namespace lowbit {

// `b` against `a`, both done. Nothing is compared where one of them keeps no outcomes, as cells of older versions do.
// Throws Error{kContent} where the two are not of the same questions or windows.
TaskComparison CompareCells(const CellRow& a, const CellRow& b);

}  // namespace lowbit
