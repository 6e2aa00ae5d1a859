// SPDX-License-Identifier: Apache-2.0
// The report as one HTML file: works offline, requests nothing, and says all of it without JavaScript too
// (the tables are plain HTML; scripts add charts, sorting, downloads).
#pragma once

#include <string>

#include "lowbit/report/report.h"

namespace lowbit {

std::string RenderPage(const Report& report);

}  // namespace lowbit
