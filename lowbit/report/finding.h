// SPDX-License-Identifier: Apache-2.0
// The one sentence a hurried reader takes home.
#pragma once

#include <string>

#include "lowbit/report/report.h"

namespace lowbit {

// "Down to 5 bits, weights cost less than 1 % of wikitext2 perplexity (83.72 in full precision);
//  4 bits cost +2.76 %, 2 bits +216 %, at the best recipe for each." About the model's first column that
// has both sides. Empty when none has.
std::string Finding(const ReportModel& model);

}  // namespace lowbit
