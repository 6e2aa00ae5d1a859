// SPDX-License-Identifier: Apache-2.0
// Two models on one task, metric by metric and subset by subset.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lowbit/base/error.h"
#include "lowbit/eval/outcomes.h"
#include "lowbit/eval/paired.h"

namespace lowbit {

struct MetricComparison {
  std::string metric;
  bool higher_is_better = false;
  PairedDifference difference;
  std::optional<Flips> flips;  // of shares of right answers

  // Significantly better (1) or worse (-1) in `b`, or not to be told (0).
  int Verdict() const;
};

// A subject of MMLU, by acc.
struct SubsetComparison {
  std::string name;
  PairedDifference difference;
  Flips flips;
};

struct TaskComparison {
  std::vector<MetricComparison> metrics;  // acc, acc_norm; or the perplexity. Those with two parts or more
  std::vector<SubsetComparison> subsets;  // in the task's order; none where it is one
};

// `b` against `a`: acc by McNemar's test, acc_norm and perplexities by a paired bootstrap. `perplexity` is what the
// windows' metric is called. Throws Error{kContent} at `place` where the two are not of the same questions or windows.
TaskComparison CompareOutcomes(const Outcomes& a, const Outcomes& b, const std::string& perplexity,
                               const Place& place);

}  // namespace lowbit
