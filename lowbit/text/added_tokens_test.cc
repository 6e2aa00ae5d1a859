// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/added_tokens.h"

#include <gtest/gtest.h>

namespace lowbit {
namespace {

AddedTokenFinder Finder(std::initializer_list<const char*> contents) {
  std::vector<AddedToken> tokens;
  for (const char* content : contents) {
    tokens.push_back({.id = static_cast<int32_t>(100 + tokens.size()), .content = content});
  }
  return AddedTokenFinder(tokens);
}

void ExpectMatch(const AddedTokenFinder& finder, std::string_view text, size_t from, size_t begin, size_t end,
                 int32_t id) {
  const auto match = finder.Find(text, from);
  ASSERT_TRUE(match.has_value()) << text;
  EXPECT_EQ(match->begin, begin);
  EXPECT_EQ(match->end, end);
  EXPECT_EQ(match->id, id);
}

TEST(AddedTokenFinder, TakesTheLeftmostAndOfThoseTheLongest) {
  const AddedTokenFinder finder = Finder({"<a", "<a>b", "b>", "a>bc"});
  ExpectMatch(finder, "x<a>bc", 0, 1, 5, 101);  // not the longer one that begins later
  ExpectMatch(finder, "x<a>xc", 0, 1, 3, 100);  // the long one began to match, the short one did match
  ExpectMatch(finder, "x<a>bc", 2, 2, 6, 103);
  ExpectMatch(finder, "<<<a", 0, 2, 4, 100);
}

TEST(AddedTokenFinder, FindsNothingWhereNothingIs) {
  EXPECT_FALSE(Finder({"<|x|>"}).Find("<|X|> <|x|", 0).has_value());
  EXPECT_FALSE(Finder({"<|x|>"}).Find("<|x|>", 1).has_value());
  EXPECT_FALSE(Finder({"<|x|>"}).Find("", 0).has_value());
  EXPECT_FALSE(Finder({}).Find("anything", 0).has_value());
}

}  // namespace
}  // namespace lowbit
