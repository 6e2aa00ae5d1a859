// SPDX-License-Identifier: Apache-2.0
// The report's table for spreadsheets and notebooks (CSV), for a README (Markdown), for a paper (LaTeX).
#pragma once

#include <string>

#include "lowbit/report/report.h"

namespace lowbit {

// One line per number, or per failed cell: model, recipe, task, metric, with everything results.db knows
// about it. Numbers read back to the same bits. RFC 4180, UTF-8, "\n".
std::string RenderCsv(const Report& report);

// A table per model; four significant digits, best values bold, failed cells with their error.
std::string RenderMarkdown(const Report& report);

// A booktabs tabular per model, to be \input into a table environment.
std::string RenderLatex(const Report& report);

}  // namespace lowbit
