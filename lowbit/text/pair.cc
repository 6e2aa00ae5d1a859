// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/pair.h"

#include <algorithm>
#include <string>

#include "lowbit/base/utf8.h"
#include "lowbit/text/unicode.h"

namespace lowbit {
namespace {

// What Python's str.strip removes: White_Space and the four information separators.
bool IsStripped(char32_t c) {
  return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F);
}

// Length of `text` without the white space at its end. Leaves alone what is not UTF-8; Encode refuses it.
size_t StrippedLength(std::string_view text) {
  size_t length = text.size();
  while (length > 0) {
    size_t begin = length - 1;
    while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
    const CodePoint c = Utf8Length(text.substr(begin, length - begin)) == length - begin
                            ? DecodeAt(text, begin)
                            : CodePoint{0, 0};
    if (!IsStripped(c.value)) break;
    length = begin;
  }
  return length;
}

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

TokenPair EncodePair(const Tokenizer& tokenizer, std::string_view context, std::string_view continuation,
                     const PairOptions& options) {
  const PairEncoder encoder(tokenizer, options);
  const std::string joined = std::string(context) + std::string(continuation);
  context = context.substr(0, StrippedLength(context));
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

}  // namespace lowbit
