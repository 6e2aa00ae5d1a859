// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/unicode.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <set>

#include "lowbit/base/utf8.h"
#include "lowbit/text/testing.h"

namespace lowbit {
namespace {

std::string Utf8(char32_t c) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes);
  return {reinterpret_cast<const char*>(bytes), static_cast<size_t>(length)};
}

// utf8proc's own, which is quadratic on runs of marks.
std::string ReferenceNfc(const std::string& text) {
  utf8proc_uint8_t* result = nullptr;
  const auto length = utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                   static_cast<utf8proc_ssize_t>(text.size()), &result,
                                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  EXPECT_GE(length, 0);
  std::string nfc(reinterpret_cast<const char*>(result), static_cast<size_t>(length));
  std::free(result);
  return nfc;
}

std::string Nfc(const std::string& text) {
  std::string buffer;
  return std::string(ToNfc(text, buffer));
}

template <class Body>
void ForEachAssigned(const Body& body) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    const bool surrogate = c >= 0xD800 && c <= 0xDFFF;
    if (!surrogate && utf8proc_category(static_cast<utf8proc_int32_t>(c)) != UTF8PROC_CATEGORY_CN) body(c);
  }
}

TEST(Unicode, TablesAreOfVersion15OrLater) {
  EXPECT_GE(std::atoi(UnicodeVersion().data()), 15);
}

TEST(Unicode, WhiteSpaceIsExactlyTheProperty) {
  const std::set<char32_t> white_space = {
      0x09,   0x0A,   0x0B,   0x0C,   0x0D,   0x20,   0x85,   0xA0,   0x1680, 0x2000, 0x2001, 0x2002, 0x2003,
      0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000};
  for (char32_t c = 0; c < 0x110000; ++c) {
    EXPECT_EQ(IsWhiteSpace(c), white_space.contains(c)) << std::hex << static_cast<uint32_t>(c);
    const CharClass kind = ClassOf(c);
    EXPECT_EQ(kind == CharClass::kSpace || kind == CharClass::kNewline, white_space.contains(c));
  }
}

TEST(Unicode, ClassesFollowTheGeneralCategory) {
  for (const char32_t c : U"aZéſßЖא中ʰǅªꙮ한")
    EXPECT_EQ(c == 0 || ClassOf(c) == CharClass::kLetter, true) << +c;
  for (const char32_t c : std::u32string_view(U"09½²①Ⅳ٣๕")) EXPECT_EQ(ClassOf(c), CharClass::kNumber) << +c;
  for (const char32_t c :
       std::u32string_view(U"\u0301\u093F\u20DD'_$€😀\u200B\uFEFF\u180E\u001C\u0378\uE000\uFFFF")) {
    EXPECT_EQ(ClassOf(c), CharClass::kOther) << +c;
  }
  EXPECT_EQ(ClassOf('\n'), CharClass::kNewline);
  EXPECT_EQ(ClassOf('\r'), CharClass::kNewline);
  EXPECT_EQ(ClassOf(0x2028), CharClass::kSpace);
}

TEST(Unicode, DecodesEveryCodePoint) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c == 0xD800) c = 0xE000;
    const std::string text = "x" + Utf8(c) + "y";
    const CodePoint decoded = DecodeAt(text, 1);
    EXPECT_EQ(decoded.value, c);
    EXPECT_EQ(decoded.length, text.size() - 2);
  }
}

TEST(Nfc, LeavesTextAloneThatHasTheForm) {
  for (const std::string text : {"", "plain", "caf\u00E9 \u017F", "中文 текст 한국", "“quoted” — 😀"}) {
    std::string buffer;
    EXPECT_EQ(ToNfc(text, buffer).data(), text.data()) << text;
  }
}

TEST(Nfc, KnowsTheExamplesOfTheStandard) {
  EXPECT_EQ(Nfc("e\u0301"), "\u00E9");
  EXPECT_EQ(Nfc("\u212B\u2126\u037E"), "\u00C5\u03A9;");       // singletons
  EXPECT_EQ(Nfc("\u1100\u1161\u11A8"), "\uAC01");              // Hangul
  EXPECT_EQ(Nfc("\uAC00\u11A8"), "\uAC01");                    // a syllable takes a final consonant
  EXPECT_EQ(Nfc("\u0958"), "\u0915\u093C");                    // composition exclusion
  EXPECT_EQ(Nfc("a\u0301\u0323"), "\u1EA1\u0301");             // ordering
  EXPECT_EQ(Nfc("\uFB01\u00BD\u2460"), "\uFB01\u00BD\u2460");  // compatibility characters stay
}

TEST(Nfc, AgreesWithUtf8procOnEveryCodePointBetweenMarks) {
  ForEachAssigned([](char32_t c) {
    const std::string text = "e" + Utf8(c) + "\u0323\u0301x" + Utf8(c);
    EXPECT_EQ(Nfc(text), ReferenceNfc(text)) << std::hex << static_cast<uint32_t>(c);
  });
}

// Whatever can join the character before must not be taken for inert.
TEST(Nfc, ComposesEveryDecomposition) {
  ForEachAssigned([](char32_t c) {
    utf8proc_int32_t parts[8];
    const auto count =
        utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, 8, UTF8PROC_DECOMPOSE, nullptr);
    if (count < 2) return;
    std::string text = "x";
    for (int i = 0; i < count; ++i) text += Utf8(static_cast<char32_t>(parts[i]));
    EXPECT_EQ(Nfc(text), ReferenceNfc(text)) << std::hex << static_cast<uint32_t>(c);
  });
}

TEST(Nfc, AgreesWithUtf8procOnRandomText) {
  std::mt19937 rng(1);
  for (int i = 0; i < 3000; ++i) {
    const std::string text = text_testing::RandomText(rng, 40, text_testing::kInterestingCharacters);
    EXPECT_EQ(Nfc(text), ReferenceNfc(text));
  }
}

}  // namespace
}  // namespace lowbit
