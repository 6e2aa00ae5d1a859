// SPDX-License-Identifier: Apache-2.0
// The full-precision pass's statistics on their way to a folder, one file per layer (calib/statistics_file.h): those
// of a whole model need not fit in memory.
#pragma once

#include <string>

#include "lowbit/quant/calibration_stream.h"

namespace lowbit {

class StatisticsFolder {
 public:
  // Makes the folder if need be. Throws WriteError, Error{kConflict} when a file is in the way.
  StatisticsFolder(const std::string& folder, const StatisticsOrigin& origin);

  // Writes one layer. `inputs` are lent: they are as they were afterwards. Throws what WriteStatistics throws.
  void Write(size_t layer, const LayerLayout& layout, LayerStatistics& inputs) const;

 private:
  std::string folder_;
  StatisticsOrigin origin_;
};

}  // namespace lowbit
