// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/pretokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <span>

#include "lowbit/text/testing.h"
#include "lowbit/text/unicode.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using Pieces = std::vector<std::string>;

Pieces Split(SplitRule rule, const std::string& text) {
  Pieces pieces;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = PreTokenEnd(rule, text, begin);
    EXPECT_GT(end, begin);
    EXPECT_LE(end, text.size());
    if (end <= begin || end > text.size()) return pieces;
    pieces.push_back(text.substr(begin, end - begin));
    begin = end;
  }
  return pieces;
}

// A naive backtracking matcher, which reads the patterns as they are published.

using Text = std::vector<char32_t>;
using Predicate = std::function<bool(char32_t)>;

struct Item {
  Predicate matches;
  size_t min, max;
};

struct Alternative {
  std::vector<Item> items;
  bool not_before_text = false;  // (?!\S)
};

// Greedy: the most repetitions first, then fewer. Where the alternative ends, or npos.
size_t Match(const Text& text, size_t at, std::span<const Item> items, bool not_before_text) {
  if (items.empty()) {
    return not_before_text && at < text.size() && !IsWhiteSpace(text[at]) ? std::string::npos : at;
  }
  size_t count = 0;
  while (count < items[0].max && at + count < text.size() && items[0].matches(text[at + count])) ++count;
  for (size_t n = count + 1; n-- > items[0].min;) {
    const size_t end = Match(text, at + n, items.subspan(1), not_before_text);
    if (end != std::string::npos) return end;
  }
  return std::string::npos;
}

bool IsLetter(char32_t c) {
  return ClassOf(c) == CharClass::kLetter;
}
bool IsNumber(char32_t c) {
  return ClassOf(c) == CharClass::kNumber;
}
bool IsLineBreak(char32_t c) {
  return c == '\r' || c == '\n';
}
bool IsOther(char32_t c) {
  return !IsWhiteSpace(c) && !IsLetter(c) && !IsNumber(c);
}
bool IsAttachable(char32_t c) {
  return !IsLineBreak(c) && !IsLetter(c) && !IsNumber(c);
}

constexpr size_t kMany = std::string::npos - 1;

std::vector<Alternative> Contractions(bool any_case) {
  std::vector<Alternative> alternatives;
  for (const std::string letters : {"s", "t", "re", "ve", "m", "ll", "d"}) {
    Alternative alternative{{{[](char32_t c) { return c == '\''; }, 1, 1}}};
    for (const char letter : letters) {
      alternative.items.push_back({[letter, any_case](char32_t c) {
                                     if (c == static_cast<char32_t>(letter)) return true;
                                     if (!any_case) return false;
                                     return c == static_cast<char32_t>(letter - 'a' + 'A') ||
                                            (letter == 's' && c == 0x17F);
                                   },
                                   1, 1});
    }
    alternatives.push_back(alternative);
  }
  return alternatives;
}

std::vector<Alternative> QwenPattern(size_t max_numbers) {
  std::vector<Alternative> pattern = Contractions(true);
  const auto is_space = [](char32_t c) { return c == ' '; };
  pattern.push_back({{{IsAttachable, 0, 1}, {IsLetter, 1, kMany}}});
  pattern.push_back({{{IsNumber, 1, max_numbers}}});
  pattern.push_back({{{is_space, 0, 1}, {IsOther, 1, kMany}, {IsLineBreak, 0, kMany}}});
  pattern.push_back({{{IsWhiteSpace, 0, kMany}, {IsLineBreak, 1, kMany}}});
  pattern.push_back({{{IsWhiteSpace, 1, kMany}}, true});
  pattern.push_back({{{IsWhiteSpace, 1, kMany}}});
  return pattern;
}

std::vector<Alternative> Gpt2Pattern() {
  std::vector<Alternative> pattern = Contractions(false);
  const auto is_space = [](char32_t c) { return c == ' '; };
  for (const Predicate& kind : {Predicate(IsLetter), Predicate(IsNumber), Predicate(IsOther)}) {
    pattern.push_back({{{is_space, 0, 1}, {kind, 1, kMany}}});
  }
  pattern.push_back({{{IsWhiteSpace, 1, kMany}}, true});
  pattern.push_back({{{IsWhiteSpace, 1, kMany}}});
  return pattern;
}

// Lengths of the pieces, in characters.
std::vector<size_t> NaiveSplit(const std::vector<Alternative>& pattern, const Text& text) {
  std::vector<size_t> lengths;
  for (size_t at = 0; at < text.size();) {
    size_t end = std::string::npos;
    for (const Alternative& alternative : pattern) {
      end = Match(text, at, alternative.items, alternative.not_before_text);
      if (end != std::string::npos) break;
    }
    EXPECT_NE(end, std::string::npos) << "the patterns leave nothing out";
    if (end == std::string::npos) return lengths;
    lengths.push_back(end - at);
    at = end;
  }
  return lengths;
}

std::vector<size_t> NaiveSplit(SplitRule rule, const Text& text) {
  static const std::vector<Alternative> qwen = QwenPattern(1), llama3 = QwenPattern(3), gpt2 = Gpt2Pattern();
  if (rule != SplitRule::kDigitsGpt2) {
    return NaiveSplit(rule == SplitRule::kQwen ? qwen : rule == SplitRule::kLlama3 ? llama3 : gpt2, text);
  }
  std::vector<size_t> lengths;
  Text piece;
  const auto flush = [&] {
    for (const size_t length : NaiveSplit(gpt2, piece)) lengths.push_back(length);
    piece.clear();
  };
  for (const char32_t c : text) {
    if (!IsNumber(c)) {
      piece.push_back(c);
      continue;
    }
    flush();
    lengths.push_back(1);
  }
  flush();
  return lengths;
}

constexpr SplitRule kRules[] = {SplitRule::kQwen, SplitRule::kLlama3, SplitRule::kGpt2,
                                SplitRule::kDigitsGpt2};

void ExpectAsNaive(const std::string& text) {
  Text characters;
  std::vector<size_t> begins;
  for (size_t i = 0; i < text.size(); i += DecodeAt(text, i).length) {
    characters.push_back(DecodeAt(text, i).value);
    begins.push_back(i);
  }
  begins.push_back(text.size());
  for (const SplitRule rule : kRules) {
    Pieces expected;
    size_t at = 0;
    for (const size_t length : NaiveSplit(rule, characters)) {
      expected.push_back(text.substr(begins[at], begins[at + length] - begins[at]));
      at += length;
    }
    ASSERT_EQ(Split(rule, text), expected) << "rule " << static_cast<int>(rule);
  }
}

TEST(PreTokenizer, SplitsEveryShortTextAsThePatternsSay) {
  const std::vector<std::string> alphabet = {"a", "s", "'", "1", "!", " ", "\t", "\n", "\u0301"};
  std::vector<std::string> texts = {""};
  for (int length = 1; length <= 5; ++length) {
    std::vector<std::string> longer;
    for (const std::string& text : texts) {
      for (const std::string& c : alphabet) longer.push_back(text + c);
    }
    texts = std::move(longer);
    for (const std::string& text : texts) ExpectAsNaive(text);
  }
}

TEST(PreTokenizer, SplitsRandomTextAsThePatternsSay) {
  std::mt19937 rng(1);
  for (int i = 0; i < 2000; ++i)
    ExpectAsNaive(text_testing::RandomText(rng, 40, text_testing::kInterestingCharacters));
}

TEST(PreTokenizer, KnowsContractionsInBothCasesForQwenOnly) {
  EXPECT_THAT(Split(SplitRule::kQwen, "IT'S don't 'ſ we'LLx"),
              ElementsAre("IT", "'S", " don", "'t", " '", "ſ", " we", "'LL", "x"));
  EXPECT_THAT(Split(SplitRule::kGpt2, "IT'S don't"), ElementsAre("IT", "'", "S", " don", "'t"));
}

TEST(PreTokenizer, GroupsDigitsAsTheFamilyDoes) {
  EXPECT_THAT(Split(SplitRule::kQwen, "x  12"), ElementsAre("x", " ", " ", "1", "2"));
  EXPECT_THAT(Split(SplitRule::kLlama3, "1234½"), ElementsAre("123", "4½"));
  EXPECT_THAT(Split(SplitRule::kGpt2, "x  12"), ElementsAre("x", " ", " 12"));
  EXPECT_THAT(Split(SplitRule::kDigitsGpt2, "x  12 34"), ElementsAre("x", "  ", "1", "2", " ", "3", "4"));
  EXPECT_THAT(Split(SplitRule::kDigitsGpt2, "½一²"), ElementsAre("½", "一", "²"));
}

TEST(PreTokenizer, LeavesTheLastSpaceToTheWord) {
  EXPECT_THAT(Split(SplitRule::kQwen, "a   b"), ElementsAre("a", "  ", " b"));
  EXPECT_THAT(Split(SplitRule::kQwen, "a   "), ElementsAre("a", "   "));
  EXPECT_THAT(Split(SplitRule::kQwen, "a \n \n  b"), ElementsAre("a", " \n \n", " ", " b"));
  EXPECT_THAT(Split(SplitRule::kQwen, "\t\tif"), ElementsAre("\t", "\tif"));
}

TEST(PreTokenizer, KeepsMarksApartFromLetters) {
  EXPECT_THAT(Split(SplitRule::kQwen, "क्षि"), ElementsAre("क", "्ष", "ि"));
}

TEST(PreTokenizer, TakesAPatternOnlyCharacterByCharacter) {
  EXPECT_EQ(SplitRuleOfPattern(text_testing::kQwenPattern), SplitRule::kQwen);
  EXPECT_EQ(SplitRuleOfPattern(text_testing::kQwenPattern + " "), std::nullopt);
  EXPECT_EQ(SplitRuleOfPattern(""), std::nullopt);
}

}  // namespace
}  // namespace lowbit
