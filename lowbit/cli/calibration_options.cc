// SPDX-License-Identifier: Apache-2.0
#include "lowbit/cli/calibration_options.h"

#include "lowbit/eval/task.h"

namespace lowbit {

// CLI11 reads -3 as 2^64 - 3: the checks of the numbers below are for that.
void CalibrationOptions::AddTo(CLI::App& command) {
  CLI::Option* calib = command.add_option(
      "--calib", file,
      "text to learn from: JSON lines with a \"text\" each (.jsonl, .json) or plain text, also .gz or .zst; "
      "or c4, the slice of C4 that ships with lowbit");
  calib->check([](const std::string& name) { return name.empty() ? "is empty, expected a file" : ""; });
  command.add_option("--calib-samples", numbers.samples, "sequences of tokens taken from it")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->needs(calib);
  command.add_option("--calib-length", numbers.length, "tokens of each")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->needs(calib);
  command
      .add_option(
          "--calib-policy", policy,
          "concat: documents one after the other, cut; window: a random piece of each of so many long "
          "documents")
      ->capture_default_str()
      ->needs(calib);
  command.add_option("--calib-seed", numbers.seed, "which pieces; of policy window")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber)
      ->needs(calib);
  command
      .add_option("--data", data_folder,
                  "folder of data sets (default: $LOWBIT_DATA, then those that ship with lowbit)")
      ->needs(calib);
}

std::optional<CalibrationSpec> CalibrationOptions::Spec() const {
  if (file.empty()) return std::nullopt;
  CalibrationSpec spec = numbers;
  spec.policy = ParseCalibrationPolicy(policy);
  spec.file = file;
  RequireSound(spec);
  TaskOptions where;
  where.data_folder = data_folder;
  spec.file = FindCalibrationText(file, DataFolders(where));
  return spec;
}

}  // namespace lowbit
