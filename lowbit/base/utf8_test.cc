// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/utf8.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace lowbit {
namespace {

// Straight from the definition: decode as the lead byte says, then check the code point.
size_t LengthByDefinition(std::string_view s) {
  const auto at = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(s[i])); };
  if (s.empty()) return 0;
  if (at(0) < 0x80) return 1;
  const size_t n = at(0) >= 0xF0 ? 4 : at(0) >= 0xE0 ? 3 : 2;
  if (at(0) < 0xC0 || at(0) > 0xF7 || s.size() < n) return 0;
  uint32_t code = at(0) & (0xFFu >> (n + 1));
  for (size_t i = 1; i < n; ++i) {
    if ((at(i) & 0xC0) != 0x80) return 0;
    code = code << 6 | (at(i) & 0x3F);
  }
  const uint32_t smallest = n == 2 ? 0x80 : n == 3 ? 0x800 : 0x10000;
  const bool surrogate = code >= 0xD800 && code <= 0xDFFF;
  return code < smallest || code > 0x10FFFF || surrogate ? 0 : n;
}

TEST(Utf8Length, AgreesWithTheDefinitionOnEveryStringOfUpToThreeBytes) {
  for (uint32_t bits = 0; bits < 1u << 24; ++bits) {
    const char bytes[3] = {static_cast<char>(bits >> 16), static_cast<char>(bits >> 8),
                           static_cast<char>(bits)};
    const std::string_view text(bytes, 3);
    if (Utf8Length(text) != LengthByDefinition(text)) FAIL() << std::hex << bits;
    if ((bits & 0xFF) == 0 && Utf8Length(text.substr(0, 2)) != LengthByDefinition(text.substr(0, 2))) {
      FAIL() << std::hex << (bits >> 8);
    }
  }
  EXPECT_EQ(Utf8Length(""), 0u);
}

TEST(Utf8Length, AgreesWithTheDefinitionOnFourByteStringsWithAnEdgeInEachByte) {
  const uint8_t edges[] = {0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xF5, 0xFF};
  for (uint32_t lead = 0xE0; lead <= 0xFF; ++lead) {
    for (const uint8_t a : edges) {
      for (const uint8_t b : edges) {
        for (const uint8_t c : edges) {
          const char bytes[4] = {static_cast<char>(lead), static_cast<char>(a), static_cast<char>(b),
                                 static_cast<char>(c)};
          EXPECT_EQ(Utf8Length({bytes, 4}), LengthByDefinition({bytes, 4}));
        }
      }
    }
  }
}

TEST(FirstInvalidUtf8, FindsTheFirstBadByte) {
  EXPECT_EQ(FirstInvalidUtf8(""), std::string::npos);
  EXPECT_EQ(FirstInvalidUtf8("abc \u00e9 \u4e2d \U0001F600"), std::string::npos);
  EXPECT_EQ(FirstInvalidUtf8("ab\xff"), 2u);
  EXPECT_EQ(FirstInvalidUtf8("\u00e9\xed\xa0\x80"), 2u);
  EXPECT_EQ(FirstInvalidUtf8("a\xc3"), 1u) << "a sequence cut by the end";
  EXPECT_EQ(FirstInvalidUtf8("\xc0\x80"), 0u) << "overlong";
}

TEST(ReplaceInvalidUtf8, OneReplacementPerMaximalSubpart) {
  const std::string r = "\uFFFD";
  EXPECT_EQ(ReplaceInvalidUtf8("plain \u00e9"), "plain \u00e9");
  // The examples of the Unicode standard, section 3.9, tables 3-8 to 3-11.
  EXPECT_EQ(ReplaceInvalidUtf8("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(ReplaceInvalidUtf8("\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41"), r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(ReplaceInvalidUtf8("\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42"),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(ReplaceInvalidUtf8("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"), r + r + r + r + "A");
}

}  // namespace
}  // namespace lowbit
