// SPDX-License-Identifier: Apache-2.0
// tokenizer.json: an accepted one encodes and decodes, with ids inside its vocabulary.
#include "fuzz/target.h"
#include "lowbit/text/tokenizer.h"

namespace lowbit::fuzz {

LOWBIT_FUZZ_TARGET(tokenizer_file) {
  std::optional<Tokenizer> tokenizer;
  if (!Accepts(input, [&] { tokenizer = Tokenizer::Parse(input, Place("tokenizer.json")); })) return;
  const std::string_view text = "The 12 hells' end \r\n\r\n  it's \xC3\xA9t\xC3\xA9 \xE4\xB8\xAD <|end|>!";
  const std::vector<int32_t> ids = tokenizer->Encode(text);
  for (const int32_t id : ids) {
    Require(id >= 0 && static_cast<size_t>(id) < tokenizer->VocabSize(), "an id outside the vocabulary");
    Require(!tokenizer->TokenBytes(id).empty(), "an id without a token");
  }
  tokenizer->Decode(ids);
  Require(tokenizer->Encode(text) == ids, "other ids the second time");
}

}  // namespace lowbit::fuzz
