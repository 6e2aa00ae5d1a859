// SPDX-License-Identifier: Apache-2.0
// Pieces of the page, each a string of HTML or JSON with everything of the database escaped.
#pragma once

#include <string>

#include "lowbit/report/report.h"

namespace lowbit {

// The numbers for charts, sorting and downloads. JSON that can stand inside a script element: every "<" is
// written "\u003c". Shape: see page_data.cc; read by assets/page.js.
std::string PageData(const Report& report);

// The results of one model: table, what its columns measure, why cells are missing. `index` numbers the
// model in PageData.
std::string ModelSection(const Report& report, size_t index);

// Of one model: which changes are more than chance, and tasks by their subjects. Empty where nothing was compared.
std::string PairedSection(const ReportModel& model);

}  // namespace lowbit
