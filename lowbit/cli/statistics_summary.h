// SPDX-License-Identifier: Apache-2.0
// What `lowbit inspect` says about a file of calibration statistics.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lowbit/base/json.h"
#include "lowbit/calib/statistics.h"

namespace lowbit {

struct TapSummary {
  std::string name;
  size_t width = 0;  // channels
  uint64_t tokens = 0;
  double max_abs = 0;   // over channels and tokens
  double mean_abs = 0;  // over channels and tokens
  std::optional<double>
      channel_ratio;         // largest channel's max |x| over the median channel's; none if that is 0
  size_t dead_channels = 0;  // x was 0 for every token
  size_t sample_rows = 0;
};

// Of every tap, layer 2 before layer 10.
std::vector<TapSummary> Summarize(const ModelStatistics& statistics);

Json StatisticsToJson(const std::string& path, const ModelStatistics& statistics);
std::string StatisticsToText(const std::string& path, const ModelStatistics& statistics);

}  // namespace lowbit
