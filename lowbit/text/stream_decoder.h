// SPDX-License-Identifier: Apache-2.0
// Text of ids as they are generated, one by one.
#pragma once

#include <string>

#include "lowbit/text/tokenizer.h"

namespace lowbit {

// A character may be spread over several tokens: what is incomplete is held back until the rest comes.
// All the text given out, Finish's included, is what Tokenizer::Decode gives for all the ids at once.
class StreamDecoder {
 public:
  // `tokenizer` must outlive the decoder.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = false)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  std::string Push(int32_t id);  // the text that is certain now, often empty
  std::string Finish();          // what was held back, as U+FFFD

 private:
  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::string held_;  // at most 3 bytes: the beginning of a character
};

}  // namespace lowbit
