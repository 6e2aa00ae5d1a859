// SPDX-License-Identifier: Apache-2.0
// From a context and its continuation to what a model is fed and scored on, as lm-evaluation-harness does.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "lowbit/text/tokenizer.h"

namespace lowbit {

enum class BosRule : uint8_t {
  kAuto,  // what the tokenizer does by default (harness 0.4.10 and later)
  kOn,    // its bos token before every context, also where it would not put one itself
  kOff,   // no special tokens (harness before 0.4.10)
};

std::string_view Name(BosRule rule);  // "auto", "on", "off"
// Whether texts begin with special tokens by this rule.
bool BeginsWithBos(const Tokenizer& tokenizer, BosRule rule);

struct PairOptions {
  BosRule bos = BosRule::kAuto;
  // Stands in for an empty context. Default: the tokenizer's bos, else its eos.
  std::optional<int32_t> prefix = std::nullopt;
};

// The model is fed context ++ continuation, which is not always the encoding of the joined texts.
struct TokenPair {
  std::vector<int32_t> context, continuation;
};

// White space at the end of the context moves to the front of the continuation, since tokens begin with a
// space. continuation = encode(both)[size of encode(context) …], so it can be empty where the tokenizer
// joins across the border. For an empty context the prefix token is the context.
// Throws Error{kContent} for an empty context without a prefix token, and for text that is not UTF-8;
// Error{kUsage} for kOn with a tokenizer that has no bos token.
TokenPair EncodePair(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                     const PairOptions& options = {});

// The ids of a text by itself, as those of a context: special tokens by `options`, none where the text begins with
// the prefix token's own characters. Throws what EncodePair throws for `options` and for the text.
std::vector<int32_t> EncodeText(const Tokenizer& tokenizer, std::string_view text,
                                const PairOptions& options = {});

// What stands for an empty context. Throws Error{kContent} where there is nothing.
int32_t PrefixToken(const Tokenizer& tokenizer, const PairOptions& options = {});

}  // namespace lowbit
