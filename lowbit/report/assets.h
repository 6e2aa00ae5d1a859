// SPDX-License-Identifier: Apache-2.0
// Files compiled into the program (cmake/EmbedReport.cmake).
#pragma once

#include <string_view>

namespace lowbit {

extern const std::string_view kPageHtml;  // the frame, with {{places}} to fill
extern const std::string_view kPageCss;
extern const std::string_view kPageDarkCss;  // colours that replace those of kPageCss
extern const std::string_view kPageJs;
extern const std::string_view kLayerMapJs;    // before kPageJs, which calls it
extern const std::string_view kChartJs;       // Chart.js 3.x
extern const std::string_view kChartLicence;  // its licence and that of what it contains

}  // namespace lowbit
