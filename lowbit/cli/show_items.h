// SPDX-License-Identifier: Apache-2.0
// What a multiple-choice task asks a model, for eyes and for comparing with lm-evaluation-harness.
#pragma once

#include <string>

#include "lowbit/eval/multiple_choice.h"

namespace lowbit {

// "3" or "all" (returned as SIZE_MAX). Throws Error{kUsage}.
size_t ParseShownItems(const std::string& text);

// Prints the first `items` items, each choice's text cut at the borders of its tokens. As JSON: one line an item,
// {"task", "subject" of MMLU, "index", "requests": [[context, continuation], …], "gold", "characters", "bytes",
// "context_ids", "continuation_ids"}.
void ShowItems(const MultipleChoiceSet& set, const Tokenizer& tokenizer, const PairOptions& options,
               size_t items, bool json);

}  // namespace lowbit
