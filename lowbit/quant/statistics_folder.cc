// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/statistics_folder.h"

#include <filesystem>

#include "lowbit/base/files.h"
#include "lowbit/calib/statistics_file.h"

namespace lowbit {

StatisticsFolder::StatisticsFolder(const std::string& folder, const StatisticsOrigin& origin)
    : folder_(folder), origin_(origin) {
  MakeDirectory(folder_);
}

void StatisticsFolder::Write(size_t layer, const LayerLayout& layout, LayerStatistics& inputs) const {
  const std::string prefix = ModelLayout::LayerPrefix(layer);
  ModelStatistics statistics;
  statistics.origin = origin_;
  if (layout.experts) statistics.expert_tokens[prefix].resize(layout.experts->count);
  for (const LayerStep& step : StepsOf(layout)) {
    InputStatistics& tap = inputs.find(step.tap)->second;
    if (layout.experts && step.tap.starts_with("mlp_in.")) {
      statistics.expert_tokens[prefix][step.expert] = tap.tokens;
    }
    statistics.taps.emplace(prefix + step.tap, std::move(tap));
  }
  WriteStatistics((std::filesystem::path(folder_) / StatisticsFileName(layer)).string(), statistics);
  for (const LayerStep& step : StepsOf(layout)) {
    inputs.find(step.tap)->second = std::move(statistics.taps.find(prefix + step.tap)->second);
  }
}

}  // namespace lowbit
