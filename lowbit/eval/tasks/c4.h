// SPDX-License-Identifier: Apache-2.0
// C4's validation texts, in the three ways that papers measure perplexity on them. docs/evaluation.md.
#pragma once

#include "lowbit/eval/perplexity_task.h"

namespace lowbit {

inline constexpr size_t kC4Windows = 256;

// All read c4/c4-validation.00000-of-00008.json or c4/validation.jsonl, JSON Lines with a field `text`, below a data
// folder. Throw Error{kMissing}, and Error{kContent} naming file, line and field.

// GPTQ's --new-eval: the first 1,100 texts joined by a space, one encoding, its first 256 windows.
WindowSource ReadC4New(const TaskOptions& options);

// GPTQ's get_c4: 256 windows of documents, drawn with a fixed seed (document_windows.h). They depend on the tokenizer.
WindowSource ReadC4(const TaskOptions& options);

// The windows of "An Empirical Study of Qwen3 Quantization" (arXiv 2505.02214), whatever the tokenizer: those listed in
// c4/study-windows.csv, of 2,048 tokens each, joined and cut again. Throws Error{kUsage} for another window.
WindowSource ReadC4Study(const TaskOptions& options);

}  // namespace lowbit
