// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/outcomes.h"

#include <algorithm>

#include "lowbit/eval/task.h"

namespace lowbit {

Outcomes OutcomesOf(const TaskResult& result) {
  const bool normalizes =
      std::ranges::find(result.measurements, "acc_norm", &Measurement::name) != result.measurements.end();
  Outcomes outcomes;
  outcomes.windows = result.windows;
  for (const ItemScore& item : result.items) {
    outcomes.answers.push_back({item.subset, static_cast<uint32_t>(item.gold), item.log_likelihoods, item.acc,
                                normalizes ? std::optional(item.acc_norm) : std::nullopt});
  }
  return outcomes;
}

}  // namespace lowbit
