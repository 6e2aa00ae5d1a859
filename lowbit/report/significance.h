// SPDX-License-Identifier: Apache-2.0
// What of a model's changes is more than chance: every recipe against full precision, paired.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lowbit/report/report.h"

namespace lowbit {

// Fills ReportValue::paired of the quantized rows, and ReportModel::subjects. Adds to `remarks` what could not be
// compared, and recipes whose perplexity and tasks point to different sides.
void AddComparisons(ReportModel& model, const std::vector<CellRow>& rows, std::vector<std::string>& remarks);

}  // namespace lowbit
