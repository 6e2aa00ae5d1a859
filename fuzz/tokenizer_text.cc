// SPDX-License-Identifier: Apache-2.0
// Text through three tokenizers: decoding gives back what was encoded, in normalization form C where the
// tokenizer asks for it, and so does decoding token by token.
#include <array>

#include "fuzz/target.h"
#include "lowbit/base/utf8.h"
#include "lowbit/text/stream_decoder.h"
#include "lowbit/text/tokenizer.h"
#include "lowbit/text/unicode.h"

namespace lowbit::fuzz {
namespace {

struct Subject {
  Tokenizer tokenizer;
  bool normalizes, has_every_byte;
};

const Subject& SubjectOf(char choice) {
  const auto load = [](const char* path) { return Tokenizer::Load(std::string(LOWBIT_SOURCE_DIR) + path); };
  static const std::array<Subject, 3> subjects = {
      Subject{load("/data/demo-qwen3/tokenizer.json"), true, true},
      Subject{load("/testdata/tokenizers/llama3style_tokenizer.json"), false, true},
      Subject{load("/testdata/tokenizers/smollm2_tokenizer.json"), false, false}};
  return subjects[static_cast<unsigned char>(choice) % subjects.size()];
}

std::string Normalized(std::string_view text, bool normalizes) {
  std::string buffer;
  return std::string(normalizes ? ToNfc(text, buffer) : text);
}

void CheckDecoding(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  StreamDecoder decoder(tokenizer);
  std::string streamed;
  for (const int32_t id : ids) streamed += decoder.Push(id);
  streamed += decoder.Finish();
  const std::string decoded = tokenizer.Decode(ids);
  Require(streamed == decoded, "token by token the text is another");
  Require(FirstInvalidUtf8(decoded) == std::string::npos, "decoded text that is not UTF-8");
}

// Ids out of the air: the input's bytes, four by four.
std::vector<int32_t> AnyIds(std::string_view text) {
  std::vector<int32_t> ids;
  for (size_t i = 0; i + 2 < text.size(); i += 3) {
    ids.push_back(static_cast<int32_t>(static_cast<unsigned char>(text[i]) |
                                       static_cast<unsigned char>(text[i + 1]) << 8) -
                  static_cast<unsigned char>(text[i + 2]));
  }
  return ids;
}

}  // namespace

LOWBIT_FUZZ_TARGET(tokenizer_text) {
  if (input.empty()) return;
  const Subject& subject = SubjectOf(input[0]);
  const Tokenizer& tokenizer = subject.tokenizer;
  const std::string_view text = input.substr(1);
  CheckDecoding(tokenizer, AnyIds(text));

  std::vector<int32_t> ids;
  if (!Accepts(input, [&] { ids = tokenizer.Encode(text, false); })) {
    Require(FirstInvalidUtf8(text) != std::string::npos, "a text in UTF-8 was refused");
    return;
  }
  bool has_added = false;
  for (const int32_t id : ids) {
    Require(id >= 0 && static_cast<size_t>(id) < tokenizer.VocabSize(), "an id outside the vocabulary");
    has_added |= tokenizer.AddedTokenText(id).has_value();
  }
  CheckDecoding(tokenizer, ids);
  if (!subject.has_every_byte) return;
  const std::string decoded = tokenizer.Decode(ids), expected = Normalized(text, subject.normalizes);
  // What stands on the two sides of an added token is normalized apart from it.
  if (has_added) {
    Require(Normalized(decoded, subject.normalizes) == expected, "decoded it is another text");
  } else {
    Require(decoded == expected, "decoded it is another text");
  }
}

}  // namespace lowbit::fuzz
