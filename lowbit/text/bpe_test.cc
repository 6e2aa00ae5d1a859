// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/bpe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <random>

namespace lowbit {
namespace {

using testing::ElementsAre;
using Ids = std::vector<int32_t>;

// A vocabulary of all bytes and of random merges of tokens over the letters a to d.
struct RandomModel {
  explicit RandomModel(unsigned seed) : vocabulary(1000, 100000), merges(400) {
    std::mt19937 rng(seed);
    std::vector<int32_t> tokens;
    for (int b = 0; b < 256; ++b) {
      const char byte = static_cast<char>(b);
      vocabulary.Insert(b, {&byte, 1});
      if (b >= 'a' && b <= 'd') tokens.push_back(b);
    }
    for (int32_t id = 256; merges.size() < 400;) {
      const int32_t left = tokens[rng() % tokens.size()], right = tokens[rng() % tokens.size()];
      const std::string joined = std::string(vocabulary.Bytes(left)) + std::string(vocabulary.Bytes(right));
      if (joined.size() > 40) continue;
      int32_t result = vocabulary.Find(joined);
      if (result == kNoToken) {
        vocabulary.Insert(result = id++, joined);
        tokens.push_back(result);
      }
      merges.Add(left, right, result);
    }
  }

  // As the definition says: the lowest rank, the leftmost of equal ones, until there is none.
  Ids NaiveEncode(const std::string& text) const {
    Ids ids;
    for (const char b : text) ids.push_back(static_cast<uint8_t>(b));
    while (true) {
      size_t best = ids.size();
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        if (merges.Rank(ids[i], ids[i + 1]) == MergeTable::kNoRank) continue;
        if (best == ids.size() || merges.Rank(ids[i], ids[i + 1]) < merges.Rank(ids[best], ids[best + 1]))
          best = i;
      }
      if (best == ids.size()) return ids;
      ids[best] = merges.Result(merges.Rank(ids[best], ids[best + 1]));
      ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best) + 1);
    }
  }

  Vocabulary vocabulary;
  MergeTable merges;
};

TEST(BytePairEncoder, AgreesWithTheDefinitionForEveryLength) {
  std::mt19937 rng(7);
  for (unsigned seed = 0; seed < 20; ++seed) {
    const RandomModel model(seed);
    const BytePairEncoder encoder(model.vocabulary, model.merges, false);
    BytePairEncoder::Scratch scratch;
    for (size_t length = 1; length <= 120; ++length) {  // on both sides of the border between its two ways
      std::string text;
      while (text.size() < length) text += static_cast<char>('a' + rng() % 5);
      Ids ids;
      encoder.Encode(text, model.vocabulary, scratch, ids);
      ASSERT_EQ(ids, model.NaiveEncode(text)) << text;
      encoder.Encode(text, model.vocabulary, scratch, ids);  // appended, now from the cache where it fits
      ASSERT_EQ(ids.size() % 2, 0u);
      ASSERT_EQ(Ids(ids.begin() + static_cast<std::ptrdiff_t>(ids.size() / 2), ids.end()),
                model.NaiveEncode(text));
    }
  }
}

TEST(BytePairEncoder, PrefersWholeTokensOnlyWhereTheFileSaysSo) {
  RandomModel model(1);
  model.vocabulary.Insert(900, "zzz");  // no merge leads here
  BytePairEncoder::Scratch merged, whole;
  Ids ids;
  BytePairEncoder(model.vocabulary, model.merges, false).Encode("zzz", model.vocabulary, merged, ids);
  EXPECT_THAT(ids, ElementsAre('z', 'z', 'z'));
  ids.clear();
  BytePairEncoder(model.vocabulary, model.merges, true).Encode("zzz", model.vocabulary, whole, ids);
  EXPECT_THAT(ids, ElementsAre(900));
}

TEST(MergeTable, KeepsTheFirstOfTwoEqualPairs) {
  MergeTable table(3);
  EXPECT_TRUE(table.Add(1, 2, 3));
  EXPECT_TRUE(table.Add(2, 1, 4));
  EXPECT_FALSE(table.Add(1, 2, 5));
  EXPECT_EQ(table.size(), 2u);
  EXPECT_EQ(table.Rank(1, 2), 0u);
  EXPECT_EQ(table.Rank(2, 1), 1u);
  EXPECT_EQ(table.Rank(1, 1), MergeTable::kNoRank);
}

TEST(Vocabulary, FindsEveryTokenByItsBytesAndOnlyThose) {
  Vocabulary vocabulary(5000, 50000);
  for (int32_t id = 0; id < 5000; ++id) {
    EXPECT_EQ(vocabulary.Insert(id, "token " + std::to_string(id)), Vocabulary::Inserted::kYes);
  }
  for (int32_t id = 0; id < 5000; ++id) EXPECT_EQ(vocabulary.Find("token " + std::to_string(id)), id);
  EXPECT_EQ(vocabulary.Find("token 5000"), kNoToken);
  EXPECT_EQ(vocabulary.Find(""), kNoToken);
  EXPECT_EQ(vocabulary.Insert(6000, "token 17"), Vocabulary::Inserted::kBytesTwice);
  EXPECT_EQ(vocabulary.Insert(17, "another"), Vocabulary::Inserted::kIdTwice);
  vocabulary.InsertHidden(7000, "hidden");
  EXPECT_EQ(vocabulary.Find("hidden"), kNoToken);
  EXPECT_EQ(vocabulary.Bytes(7000), "hidden");
  EXPECT_EQ(vocabulary.IdLimit(), 7001u);
}

TEST(HashBytes, DependsOnEveryByteOfShortTexts) {
  std::string text = "abcdefghijklmnopqrstuvwxyz";
  for (size_t length = 1; length <= text.size(); ++length) {
    for (size_t i = 0; i < length; ++i) {
      std::string other = text.substr(0, length);
      other[i] ^= 1;
      EXPECT_NE(HashBytes(other), HashBytes(text.substr(0, length))) << length << " " << i;
    }
  }
}

// x of y = x ^ (x >> 29).
uint64_t UndoShift(uint64_t y) {
  return y ^ (y >> 29) ^ (y >> 58);
}

// The inverse of kHashFactor modulo 2^64, by Newton's steps.
uint64_t InverseOfFactor() {
  uint64_t inverse = kHashFactor;
  for (int i = 0; i < 5; ++i) inverse *= 2 - kHashFactor * inverse;
  return inverse;
}

// Tokens of eight bytes that would all begin at one slot if the seed were 0, as whoever wrote them hoped.
TEST(Vocabulary, TokensMadeToFallIntoOneSlotTakeNoLongerThanOthers) {
  constexpr int32_t kTokens = 50000;
  const uint64_t inverse = InverseOfFactor();
  ASSERT_EQ(inverse * kHashFactor, 1u);
  const auto undo_mix = [&](uint64_t h) { return UndoShift(h * inverse); };
  Vocabulary vocabulary(kTokens, 8 * kTokens);
  const std::clock_t start = std::clock();
  for (int32_t id = 0; id < kTokens; ++id) {
    const uint64_t hash = uint64_t{0x12345678} << 32 | static_cast<uint32_t>(id);
    const uint64_t bytes = undo_mix(undo_mix(hash)) ^ (9 * kHashFactor);
    const std::string_view token(reinterpret_cast<const char*>(&bytes), sizeof bytes);
    ASSERT_EQ(vocabulary.Insert(id, token), Vocabulary::Inserted::kYes);
  }
  const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
  EXPECT_LT(seconds, 2.0);  // 50 ms; a minute if they did
}

}  // namespace
}  // namespace lowbit
