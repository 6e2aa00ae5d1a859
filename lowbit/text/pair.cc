// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/pair.h"

#include <algorithm>
#include <string>

#include "lowbit/text/python_text.h"

namespace lowbit {
namespace {

class PairEncoder {
 public:
  PairEncoder(const Tokenizer& tokenizer, const PairOptions& options)
      : tokenizer_(tokenizer), bos_(options.bos) {
    prefix_ = options.prefix ? options.prefix : tokenizer.Bos() ? tokenizer.Bos() : tokenizer.Eos();
    if (bos_ == BosRule::kOn && !tokenizer.Bos()) {
      throw Error(ErrorKind::kUsage, tokenizer.place(), "has no bos token to begin with")
          .Hint("tokenizer_config.json names it as bos_token; use --bos auto or off");
    }
  }

  int32_t Prefix() const {
    if (prefix_) return *prefix_;
    throw Error(ErrorKind::kContent, tokenizer_.place(),
                "names neither a bos nor an eos token, expected one to stand "
                "for an empty context")
        .Hint("a tokenizer_config.json beside it would name them");
  }

  std::vector<int32_t> Encode(std::string_view text) const {
    // A text that begins with the token's own characters has it already.
    const bool begins = prefix_ && text.starts_with(tokenizer_.TokenBytes(*prefix_));
    std::vector<int32_t> ids = tokenizer_.Encode(text, bos_ != BosRule::kOff && !begins);
    if (bos_ == BosRule::kOn && (ids.empty() || ids[0] != *tokenizer_.Bos()))
      ids.insert(ids.begin(), *tokenizer_.Bos());
    return ids;
  }

 private:
  const Tokenizer& tokenizer_;
  BosRule bos_;
  std::optional<int32_t> prefix_;
};

}  // namespace

std::string_view Name(BosRule rule) {
  return rule == BosRule::kAuto ? "auto" : rule == BosRule::kOn ? "on" : "off";
}

bool BeginsWithBos(const Tokenizer& tokenizer, BosRule rule) {
  return rule == BosRule::kOn || (rule == BosRule::kAuto && !tokenizer.Encode("").empty());
}

TokenPair EncodePair(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                     const PairOptions& options) {
  const PairEncoder encoder(tokenizer, options);
  const std::string joined = std::string(context) + std::string(continuation);
  context = context.substr(0, RightStrippedLength(context));
  TokenPair pair;
  if (context.empty()) {
    pair.context = {encoder.Prefix()};
    pair.continuation = tokenizer.Encode(joined, false);
    if (!pair.continuation.empty() && pair.continuation[0] == pair.context[0]) {
      pair.continuation.erase(pair.continuation.begin());
    }
    return pair;
  }
  pair.context = encoder.Encode(context);
  const std::vector<int32_t> whole = encoder.Encode(joined);
  const size_t border = std::min(pair.context.size(), whole.size());
  pair.continuation.assign(whole.begin() + static_cast<std::ptrdiff_t>(border), whole.end());
  return pair;
}

std::vector<int32_t> EncodeText(const Tokenizer& tokenizer, std::string_view text,
                                const PairOptions& options) {
  return PairEncoder(tokenizer, options).Encode(text);
}

int32_t PrefixToken(const Tokenizer& tokenizer, const PairOptions& options) {
  return PairEncoder(tokenizer, options).Prefix();
}

}  // namespace lowbit
