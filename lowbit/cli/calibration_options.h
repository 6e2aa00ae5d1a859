// SPDX-License-Identifier: Apache-2.0
// The flags of every command that learns from texts.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "lowbit/calib/calibration_set.h"

namespace lowbit {

// --calib and what goes with it.
struct CalibrationOptions {
  std::string file, policy = "concat", data_folder;
  CalibrationSpec numbers;  // samples, length and seed

  void AddTo(CLI::App& command);

  // nullopt without --calib. Throws Error{kUsage} for numbers that make no sense, Error{kMissing} for a text of a
  // known name that is in no data folder. Does not read the text.
  std::optional<CalibrationSpec> Spec() const;
};

}  // namespace lowbit
