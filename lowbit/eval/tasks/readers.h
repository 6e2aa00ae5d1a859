// SPDX-License-Identifier: Apache-2.0
// One reader for each multiple-choice task, each in the file of its name: finds the data set, checks every row,
// and renders it byte for byte as lm-evaluation-harness does. docs/evaluation.md has the layouts.
#pragma once

#include "lowbit/eval/multiple_choice.h"
#include "lowbit/eval/task.h"

namespace lowbit {

// All throw Error{kMissing} where no data folder holds the file, Error{kContent} naming file, line and field,
// Error{kUsage} for examples (options.shots) that the task has none of.
MultipleChoiceSet ReadPiqa(const TaskOptions& options);
MultipleChoiceSet ReadArcEasy(const TaskOptions& options);
MultipleChoiceSet ReadArcChallenge(const TaskOptions& options);
MultipleChoiceSet ReadHellaSwag(const TaskOptions& options);
MultipleChoiceSet ReadWinoGrande(const TaskOptions& options);
MultipleChoiceSet ReadBoolQ(const TaskOptions& options);
MultipleChoiceSet ReadMmlu(const TaskOptions& options);

// As evaluate_hf.py in the repository of "An Empirical Study of Qwen3 Quantization" (arXiv 2505.02214) asks MMLU, which
// is the script of Hendrycks et al. (arXiv 2009.03300): letters without a space in front, five examples unless
// options.shots says otherwise, the last of them left out until a prompt has at most 2,048 tokens.
MultipleChoiceSet ReadMmluStudy(const TaskOptions& options);

// For tasks whose examples would have to be drawn from a training split.
void RequireNoShots(const TaskOptions& options, std::string_view task);

}  // namespace lowbit
