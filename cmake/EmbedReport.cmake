# SPDX-License-Identifier: Apache-2.0
# What `lowbit report` carries inside: the page, and Chart.js as the distribution packages it.
include(${CMAKE_CURRENT_LIST_DIR}/Embed.cmake)

find_file(LOWBIT_CHART_JS NAMES chart.min.js Chart.min.js
          PATHS /usr/share/javascript/chart.js /usr/share/nodejs/chart.js/dist
          NO_DEFAULT_PATH DOC "Chart.js 3.x, one minified UMD file")
if(NOT LOWBIT_CHART_JS OR NOT EXISTS ${LOWBIT_CHART_JS})
  message(FATAL_ERROR "Chart.js was not found. Install the package libjs-chart.js, or configure with "
                      "-DLOWBIT_CHART_JS=/path/to/chart.min.js (version 3.x)")
endif()
file(READ ${LOWBIT_CHART_JS} chart_js_head LIMIT 200)
if(NOT chart_js_head MATCHES "Chart\\.js v3\\.")
  message(FATAL_ERROR "${LOWBIT_CHART_JS}: not Chart.js 3.x, expected its banner 'Chart.js v3.'")
endif()

# lowbit_embed_report(TARGET): declared for C++ in lowbit/report/assets.h.
function(lowbit_embed_report target)
  set(assets ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../lowbit/report/assets)
  lowbit_embed(${target}
    kPageHtml=${assets}/page.html kPageCss=${assets}/page.css kPageDarkCss=${assets}/page_dark.css
    kPageJs=${assets}/page.js kLayerMapJs=${assets}/layer_map.js
    kChartLicence=${assets}/chart_licence.txt kChartJs=${LOWBIT_CHART_JS})
endfunction()
