// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/stream_decoder.h"

#include <gtest/gtest.h>

#include "lowbit/text/testing.h"

namespace lowbit {
namespace {

using text_testing::ParseSmall;
using text_testing::SmallTokenizer;

TEST(StreamDecoder, HoldsACharacterBackUntilItIsWhole) {
  const Tokenizer tokenizer = ParseSmall(SmallTokenizer());
  StreamDecoder decoder(tokenizer);
  EXPECT_EQ(decoder.Push('a'), "a");
  EXPECT_EQ(decoder.Push(0xF0), "");
  EXPECT_EQ(decoder.Push(0x9F), "");
  EXPECT_EQ(decoder.Push(0x98), "");
  EXPECT_EQ(decoder.Push(0x80), "😀");
  EXPECT_EQ(decoder.Push(0xE0), "");
  EXPECT_EQ(decoder.Push(0x80), "\uFFFD\uFFFD");  // E0 80 begins nothing
  EXPECT_EQ(decoder.Push(0xC3), "");
  EXPECT_EQ(decoder.Push(260), "\uFFFD<|end|>");
  EXPECT_EQ(decoder.Push(0xC3), "");
  EXPECT_EQ(decoder.Finish(), "\uFFFD");
  EXPECT_EQ(decoder.Finish(), "");
}

TEST(StreamDecoder, GivesTheSameTextAsDecodingAtOnce) {
  const Tokenizer tokenizer = ParseSmall(SmallTokenizer());
  // Lead bytes, continuations at the borders of their ranges, ASCII, added tokens, no token.
  const std::vector<int32_t> pool = {0xC2, 0xE0, 0xED, 0xEF, 0xF0, 0xF4, 0xFF, 0x80, 0x8F, 0x90, 0x9F,
                                     0xA0, 0xBF, 0x80, 0xBF, 'a',  258,  259,  260,  261,  262};
  std::mt19937 rng(1);
  for (int i = 0; i < 20000; ++i) {
    std::vector<int32_t> ids(rng() % 12);
    for (int32_t& id : ids) id = pool[rng() % pool.size()];
    for (const bool skip : {false, true}) {
      StreamDecoder decoder(tokenizer, skip);
      std::string text;
      for (const int32_t id : ids) text += decoder.Push(id);
      text += decoder.Finish();
      ASSERT_EQ(text, tokenizer.Decode(ids, skip));
    }
  }
}

}  // namespace
}  // namespace lowbit
