// SPDX-License-Identifier: Apache-2.0
// Reading tokenizer.json: which components it asks for, and its tables.
#pragma once

#include <string_view>
#include <vector>

#include "lowbit/base/error.h"
#include "lowbit/text/pretokenizer.h"
#include "lowbit/text/token_tables.h"

namespace lowbit {

// What a tokenizer.json asks for, reduced to what Qwen2, Qwen3, LLaMA-3, SmolLM2 and GPT-2 need.
struct TokenizerFile {
  bool nfc = false;  // normalizer
  SplitRule split = SplitRule::kQwen;
  bool whole_tokens_first = false;      // model.ignore_merges
  std::vector<int32_t> prefix, suffix;  // special tokens that the post-processor puts around a text
  TokenTables tables;
};

// Throws Error{kContent} with `file` and the key for everything this program does not know: a component
// is refused by name, never skipped. Ignored on purpose: truncation and padding (they concern batches for
// training; the reference switches them off for every call), offsets, and pair templates.
TokenizerFile ParseTokenizerFile(std::string_view text, const Place& file);

}  // namespace lowbit
