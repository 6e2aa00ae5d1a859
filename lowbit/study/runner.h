// SPDX-License-Identifier: Apache-2.0
// Runs what a plan says is missing.
#pragma once

#include <functional>
#include <string>

#include "lowbit/kernels/backend.h"
#include "lowbit/study/plan.h"
#include "lowbit/study/results_db.h"

namespace lowbit {

struct StudySummary {
  size_t done = 0, failed = 0;  // cells of this run
};

// Called after each cell with its row, and how many of the run's cells are finished.
using OnCell = std::function<void(const CellRow& row, size_t finished, size_t total)>;

// Quantizes into FOLDER/artefacts/MODEL/RECIPE, or FOLDER/.lowbit-scratch/… when it is not to be kept,
// measures, and writes one row per missing or failed cell. Recipes of a model are quantized together before the first
// of their cells (PlanSweeps). An Error ends its cell, not the study, and one of a recipe ends that recipe's cells: the
// row says what happened. Only what cannot be written (WriteError: results.db, a full disk) and a request to stop end
// the study, without a row for the cell under way; the next run goes on with the layers that are finished.
// Cells already done are not touched.
StudySummary RunPlan(const StudyPlan& plan, const std::string& folder, ResultsDb& results,
                     const Backend& backend, const OnCell& on_cell);

}  // namespace lowbit
