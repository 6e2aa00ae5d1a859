// SPDX-License-Identifier: Apache-2.0
// A multiple-choice data set as a task.
#pragma once

#include <memory>
#include <span>

#include "lowbit/eval/multiple_choice.h"
#include "lowbit/eval/task.h"

namespace lowbit {

// Takes limit and bos of `options`.
std::unique_ptr<Task> MakeMultipleChoiceTask(MultipleChoiceSet set, const TaskOptions& options);

// What `scores`, one for each item of the set, come to: "acc" and, where the set has it, "acc_norm", with their
// standard errors. Of a set with subsets "acc" over all items, with the error of the pooled variance, "acc_macro",
// the mean over subsets, and "acc_CATEGORY"; `parts` gets "acc" of each subset under its name.
std::vector<Measurement> MeasurementsOf(const MultipleChoiceSet& set, std::span<const ItemScore> scores,
                                        std::vector<Measurement>& parts);

}  // namespace lowbit
