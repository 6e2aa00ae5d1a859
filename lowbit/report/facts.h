// SPDX-License-Identifier: Apache-2.0
// Where the numbers come from, and what a reader must be warned of.
#pragma once

#include <cstddef>

#include "lowbit/report/report.h"

namespace lowbit {

// Fills facts, remarks, done and failed from the cells that the report shows. `hidden` counts rows of
// results.db that a newer one of the same cell replaced in it.
void AddFacts(Report& report, size_t hidden);

}  // namespace lowbit
