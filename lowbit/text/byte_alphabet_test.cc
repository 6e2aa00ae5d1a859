// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/byte_alphabet.h"

#include <gtest/gtest.h>

#include <set>

namespace lowbit {
namespace {

TEST(ByteAlphabet, WritesEveryByteAsACharacterOfItsOwnAndBack) {
  std::set<std::string> characters;
  for (int b = 0; b < 256; ++b) {
    const std::string character = AlphabetCharacter(static_cast<uint8_t>(b));
    EXPECT_TRUE(characters.insert(character).second);
    std::string bytes;
    EXPECT_TRUE(AppendAlphabetBytes(character, bytes));
    EXPECT_EQ(bytes, std::string(1, static_cast<char>(b)));
  }
}

TEST(ByteAlphabet, KnowsThePublishedExamples) {
  EXPECT_EQ(ToAlphabet(" a\n\t\r!~"), "ĠaĊĉč!~");
  EXPECT_EQ(ToAlphabet(std::string("\0\x7F\x80\xAD\xFF", 5)), "ĀġĢŃÿ");
}

TEST(ByteAlphabet, RefusesEveryOtherCharacter) {
  for (const char* text : {" ", "a b", "\n", "\u00A0", "\u00AD", "\u0144", "\u0300", "中", "😀", "Ġ\xC4"}) {
    std::string bytes;
    EXPECT_FALSE(AppendAlphabetBytes(text, bytes)) << text;
  }
}

}  // namespace
}  // namespace lowbit
