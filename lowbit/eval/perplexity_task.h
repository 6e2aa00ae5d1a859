// SPDX-License-Identifier: Apache-2.0
// Perplexity of consecutive windows as a task; where the windows' tokens come from is the only difference between
// wikitext2, text:FILE and the protocols of C4.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "lowbit/eval/task.h"

namespace lowbit {

// Tokens from which windows are cut, one after the other.
struct WindowTokens {
  TokenIds ids;
  size_t whole_windows =
      0;            // how many the protocol has of this text; `ids` may hold fewer where fewer were asked for
  std::string how;  // "one encoding of the whole text (1,234 tokens, no BOS)": part of the protocol
};

struct WindowSource {
  std::string task;       // "c4-new"
  std::string text;       // "C4 validation": part of the settings
  std::string data_hash;  // SHA-256
  // At least the first `windows` windows of `window` tokens, where there are as many; 0 = all. Throws
  // Error{kContent} for a text that gives none.
  std::function<WindowTokens(const Tokenizer&, size_t window, size_t windows)> tokens;
};

// Takes window and windows of `options`.
std::unique_ptr<Task> MakePerplexityTask(WindowSource source, const TaskOptions& options);

// "no BOS" or "BOS once": what a tokenizer puts around every text.
std::string BosText(const Tokenizer& tokenizer);

inline constexpr size_t kPaperWindow = 2048;

}  // namespace lowbit
