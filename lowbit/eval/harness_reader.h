// SPDX-License-Identifier: Apache-2.0
// Reads back what harness_files.h wrote, or lm-evaluation-harness itself with --log_samples: outcomes to compare.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lowbit/eval/outcomes.h"

namespace lowbit {

struct HarnessOutcomes {
  Outcomes outcomes;
  std::string metric;                // of windows: "perplexity"
  std::string protocol;              // as lowbit says it; empty in files of the harness
  std::vector<std::string> prompts;  // SHA-256 of each question's context, where the file says it
};

struct HarnessRunFiles {
  std::string path;                              // of the results
  std::string model;                             // its name
  std::map<std::string, HarnessOutcomes> tasks;  // MMLU's subjects together as "mmlu"
};

// `path`: a results file, or a folder that holds some, or holds one folder that does: the newest. Throws
// Error{kMissing} where there are no results, or no samples beside them, Error{kContent} for what is not of the
// harness's form, Error{kUsage} where several folders have results.
HarnessRunFiles ReadHarnessFiles(const std::string& path);

}  // namespace lowbit
