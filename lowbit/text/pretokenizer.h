// SPDX-License-Identifier: Apache-2.0
// Cutting text into pre-tokens, the pieces that byte-pair encoding never joins. The families publish
// regular expressions for it; these are hand-written matchers of exactly those, in time linear in the
// text: a backtracking engine overruns its limits on long runs of spaces.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lowbit {

enum class SplitRule : uint8_t {
  kQwen,        // Qwen2 and Qwen3: every number character alone
  kLlama3,      // the same with up to three number characters together
  kGpt2,        // ByteLevel with use_regex
  kDigitsGpt2,  // SmolLM2: number characters alone, then kGpt2 on every piece between them
};

// The rule of a Split pre-tokenizer by the exact text of its pattern; nullopt for an unknown one.
std::optional<SplitRule> SplitRuleOfPattern(std::string_view pattern);

// Where the pre-token that begins at text[begin] ends. `text` is one piece between added tokens (its end
// counts as the end of the text for look-ahead), valid UTF-8, begin < text.size().
size_t PreTokenEnd(SplitRule rule, std::string_view text, size_t begin);

}  // namespace lowbit
