// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <set>
#include <thread>

#include "lowbit/base/hash.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/base/utf8.h"
#include "lowbit/text/testing.h"
#include "lowbit/text/unicode.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using text_testing::GoldenTokenizer;
using text_testing::kInterestingCharacters;
using text_testing::ParseSmall;
using text_testing::RandomText;
using text_testing::SmallTokenizer;
using Ids = std::vector<int32_t>;

class GoldenVectors : public testing::TestWithParam<const char*> {
 protected:
  const Tokenizer& tokenizer() const { return GoldenTokenizer(GetParam()); }
  std::vector<Json> Read(const std::string& kind) const {
    return text_testing::ReadVectors(kind + "_" + GetParam() + ".jsonl");
  }
};

TEST_P(GoldenVectors, TextEncodesToTheReferenceIds) {
  for (const Json& line : Read("tokenizer")) {
    SCOPED_TRACE("id " + line["id"].dump());
    const std::string text = line["text"];
    EXPECT_EQ(tokenizer().Encode(text), line["ids"].get<Ids>());
    const Json& plain = line.contains("ids_no_special") ? line["ids_no_special"] : line["ids"];
    EXPECT_EQ(tokenizer().Encode(text, false), plain.get<Ids>());
  }
}

TEST_P(GoldenVectors, IdsDecodeToTheReferenceText) {
  std::vector<Json> lines = Read("tokenizer");
  if (GetParam() != std::string("llama3style")) {
    for (const Json& line : Read("decode")) lines.push_back(line);
  }
  for (const Json& line : lines) {
    SCOPED_TRACE("id " + line["id"].dump());
    const Ids ids = line["ids"];
    EXPECT_EQ(tokenizer().Decode(ids, true), line["decoded_skip_special"].get<std::string>());
    if (!line.contains("decoded")) continue;
    EXPECT_EQ(tokenizer().Decode(ids), line["decoded"].get<std::string>());
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, GoldenVectors, testing::Values("qwen3", "smollm2", "llama3style"));

// What a text without normalization comes back as: bytes that have no token (SmolLM2 only) are lost.
std::string WithoutUnknownBytes(const std::string& text, const std::array<bool, 256>& known) {
  std::string kept;
  for (const char b : text) {
    if (known[static_cast<uint8_t>(b)]) kept += b;
  }
  return ReplaceInvalidUtf8(kept);
}

std::array<bool, 256> BytesWithToken(const Tokenizer& tokenizer) {
  std::array<bool, 256> known{};
  for (size_t id = 0; id < tokenizer.VocabSize(); ++id) {
    const std::string_view bytes = tokenizer.TokenBytes(static_cast<int32_t>(id));
    if (bytes.size() == 1) known[static_cast<uint8_t>(bytes[0])] = true;
  }
  return known;
}

class RoundTrip : public testing::TestWithParam<const char*> {
 protected:
  void Check(const std::string& text) const {
    std::string buffer;
    const std::string normalized(normalizes_ ? ToNfc(text, buffer) : text);
    EXPECT_EQ(tokenizer_.Decode(tokenizer_.Encode(text, false)), WithoutUnknownBytes(normalized, known_));
  }

 private:
  const Tokenizer& tokenizer_ = GoldenTokenizer(GetParam());
  const bool normalizes_ = std::set<std::string>{"qwen3", "demo"}.contains(GetParam());
  const std::array<bool, 256> known_ = BytesWithToken(tokenizer_);
};

TEST_P(RoundTrip, GivesEveryTextOfUpToTwoBytesBack) {
  Check("");
  for (int a = 0; a < 0x80; ++a) {
    Check(std::string(1, static_cast<char>(a)));
    for (int b = 0; b < 0x80; ++b) Check({static_cast<char>(a), static_cast<char>(b)});
  }
  for (int lead = 0xC2; lead < 0xE0; ++lead) {
    for (int tail = 0x80; tail < 0xC0; ++tail) Check({static_cast<char>(lead), static_cast<char>(tail)});
  }
}

TEST_P(RoundTrip, GivesRandomTextBackInNormalForm) {
  std::mt19937 rng(1);
  for (int i = 0; i < 5000; ++i) {
    // Added tokens end normalization, so they are left to the vectors here.
    std::vector<std::string> pool = kInterestingCharacters;
    pool.pop_back();
    Check(RandomText(rng, 60, pool));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, RoundTrip, testing::Values("qwen3", "smollm2", "llama3style", "demo"));

TEST(Tokenizer, EncodesTheSameWithAColdAFullAndAWarmCache) {
  const Tokenizer tokenizer = Tokenizer::Load(LOWBIT_SOURCE_DIR "/data/demo-qwen3");
  std::string words;  // more than twice as many as the cache has places
  std::mt19937 rng(2);
  for (int i = 0; i < 70000; ++i) {
    std::string word = " ";
    for (int k = 0; k < 6; ++k) word += static_cast<char>('a' + rng() % 26);
    words += word;
  }
  const Ids expected = tokenizer.Encode(words);
  EXPECT_EQ(tokenizer.Encode(words), expected);
  EXPECT_EQ(tokenizer.Decode(expected), words);
}

TEST(Tokenizer, GivesTheSameIdsToManyThreadsAtOnce) {
  const Tokenizer& tokenizer = GoldenTokenizer("qwen3");
  std::mt19937 rng(3);
  std::vector<std::string> texts;
  std::vector<Ids> expected;
  for (int i = 0; i < 300; ++i) {
    texts.push_back(RandomText(rng, 50, kInterestingCharacters));
    expected.push_back(tokenizer.Encode(texts.back()));
  }
  std::vector<int> differences(4, 0);
  std::vector<std::thread> threads;
  for (int& count : differences) {
    threads.emplace_back([&] {
      for (size_t i = 0; i < texts.size(); ++i) count += tokenizer.Encode(texts[i]) != expected[i];
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_THAT(differences, ElementsAre(0, 0, 0, 0));
}

// A quarter of a million bytes of the same, on a thread with little stack. What is quadratic would need
// hours, what recurses would crash.
TEST(Tokenizer, NeedsNeitherMuchTimeNorStackForLongRuns) {
  const auto body = [](void*) -> void* {
    for (const char* kind : {"qwen3", "smollm2"}) {
      for (const char* unit :
           {"a", " ", "\n", "!", "1", "中", " \n", "<|im_", "<", "é", "\xF0\x9F\x98\x80"}) {
        SCOPED_TRACE(std::string(kind) + " " + unit);
        std::string text;
        while (text.size() < (size_t{1} << 18)) text += unit;
        const Tokenizer& tokenizer = GoldenTokenizer(kind);
        EXPECT_EQ(tokenizer.Decode(tokenizer.Encode(text)), text);
      }
    }
    return nullptr;
  };
  GoldenTokenizer("qwen3");  // loaded on this thread
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, 256 << 10), 0);
  pthread_t thread;
  ASSERT_EQ(pthread_create(&thread, &attributes, body, nullptr), 0);
  ASSERT_EQ(pthread_join(thread, nullptr), 0);
  pthread_attr_destroy(&attributes);
}

TEST(Tokenizer, OrdersHalfAMillionMarksInTheirNormalForm) {
  std::string above, below;
  for (int i = 0; i < 1 << 18; ++i) {
    above += "\u0301";  // combining class 230
    below += "\u0323";  // combining class 220, sorted before
  }
  const Tokenizer& tokenizer = GoldenTokenizer("qwen3");
  EXPECT_EQ(tokenizer.Encode("q" + above + below), tokenizer.Encode("q" + below + above));
}

TEST(Tokenizer, RefusesInvalidUtf8NamingTheByte) {
  const Tokenizer& tokenizer = GoldenTokenizer("demo");
  const std::string good(1 << 20, 'a');
  for (const std::string bad : {"\xFF", "\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE2\x82"}) {
    try {
      tokenizer.Encode(good + bad + good);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kContent);
      EXPECT_THAT(error.what(), HasSubstr("byte 1048576: not valid UTF-8"));
    }
  }
}

TEST(Tokenizer, DecodesIdsWithoutATokenToNothing) {
  const Tokenizer tokenizer = ParseSmall(SmallTokenizer());
  EXPECT_EQ(tokenizer.Decode(Ids{'a', 262, -1, 100000, INT32_MIN, INT32_MAX, 'b'}), "ab");
}

TEST(Tokenizer, DropsOnlySpecialTokensWhenAsked) {
  const Tokenizer tokenizer = ParseSmall(SmallTokenizer());
  const Ids ids = tokenizer.Encode("a<|end|><think>b");
  EXPECT_THAT(ids, ElementsAre('a', 260, 261, 'b'));
  EXPECT_EQ(tokenizer.Decode(ids), "a<|end|><think>b");
  EXPECT_EQ(tokenizer.Decode(ids, true), "a<think>b");
}

TEST(Tokenizer, FindsNormalizedTokensAfterNormalizationInNormalForm) {
  Json json = SmallTokenizer();
  json["added_tokens"].push_back(
      {{"id", 262}, {"content", "cafe\u0301"}, {"normalized", true}, {"special", false}});
  const Tokenizer tokenizer = ParseSmall(json);
  EXPECT_THAT(tokenizer.Encode("x caf\u00E9"), ElementsAre('x', ' ', 262));
  EXPECT_THAT(tokenizer.Encode("cafe\u0301x"), ElementsAre(262, 'x'));
  EXPECT_THAT(tokenizer.Encode("cafe<think>"), ElementsAre('c', 'a', 'f', 'e', 261));
}

TEST(Tokenizer, FindsOtherAddedTokensBeforeNormalizationOnly) {
  Json json = SmallTokenizer();
  json["added_tokens"].push_back({{"id", 262}, {"content", "x<"}, {"normalized", true}});
  json["added_tokens"].push_back({{"id", 263}, {"content", "\u1EA1"}, {"normalized", false}});
  const Tokenizer tokenizer = ParseSmall(json);
  EXPECT_THAT(tokenizer.Encode("x<think>x<"),
              ElementsAre('x', 261, 262));  // <think> comes first, not the left one
  EXPECT_THAT(tokenizer.Encode("\u1EA1a\u0323"), ElementsAre(263, 0xE1, 0xBA, 0xA1));
}

TEST(Tokenizer, DropsBytesThatHaveNoToken) {
  Json json = SmallTokenizer();
  json["model"]["vocab"].erase(AlphabetCharacter(0x04));
  json["model"]["vocab"].erase(AlphabetCharacter(0xF1));
  const Tokenizer tokenizer = ParseSmall(json);
  EXPECT_THAT(tokenizer.Encode("a\x04z"), ElementsAre('a', 'z'));
  // One pre-token; what stands around the lost byte comes together, as in the reference.
  EXPECT_THAT(tokenizer.Encode("\xF1\x80\x80\x80"), ElementsAre(0x80, 0x80, 0x80));
  EXPECT_THAT(tokenizer.Encode(std::string(100, '\x04')), ElementsAre());
}

TEST(Tokenizer, KnowsItsSizeAndItsTokens) {
  const Tokenizer tokenizer = ParseSmall(SmallTokenizer());
  EXPECT_EQ(tokenizer.VocabSize(), 262u);
  EXPECT_EQ(tokenizer.TokenBytes(258), "hell");
  EXPECT_EQ(tokenizer.TokenBytes(259), "  ");
  EXPECT_EQ(tokenizer.TokenBytes(262), "");
  EXPECT_EQ(tokenizer.AddedTokenId("<think>"), 261);
  EXPECT_EQ(tokenizer.AddedTokenId("hell"), std::nullopt);
  EXPECT_EQ(tokenizer.AddedTokenText(260), "<|end|>");
  EXPECT_EQ(tokenizer.AddedTokenText(258), std::nullopt);
  EXPECT_TRUE(tokenizer.IsSpecial(260));
  EXPECT_FALSE(tokenizer.IsSpecial(261));
  EXPECT_EQ(tokenizer.Bos(), std::nullopt);
  EXPECT_EQ(GoldenTokenizer("qwen3").VocabSize(), 151669u);
  EXPECT_EQ(GoldenTokenizer("smollm2").VocabSize(), 49152u);
  EXPECT_EQ(GoldenTokenizer("llama3style").Bos(), 30019);
}

TEST(Tokenizer, HashIsThatOfTheFile) {
  EXPECT_EQ(GoldenTokenizer("qwen3").Hash(), Sha256OfFile(text_testing::GoldenPath("qwen3_tokenizer.json")));
}

TEST(Tokenizer, NeedsARowOfTheEmbeddingForEveryToken) {
  const Tokenizer tokenizer = ParseSmall(SmallTokenizer());
  EXPECT_NO_THROW(tokenizer.RequireRows(262));
  EXPECT_NO_THROW(tokenizer.RequireRows(1000));
  try {
    tokenizer.RequireRows(261);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kContent);
    EXPECT_THAT(error.what(),
                HasSubstr("tokenizer.json: token '<think>': has id 261, expected less than 261"));
  }
}

TEST(Tokenizer, ReadsBosAndEosFromTheConfigBesideIt) {
  const TestFolder folder;
  folder.Write("tokenizer.json", SmallTokenizer().dump());
  EXPECT_EQ(Tokenizer::Load(folder.path()).Eos(), std::nullopt);
  folder.Write("tokenizer_config.json",
               R"({"bos_token": null, "eos_token": "<|end|>", "chat_template": "{{ x }}"})");
  for (const std::string& path : {folder.path(), folder.File("tokenizer.json")}) {
    const Tokenizer tokenizer = Tokenizer::Load(path);
    EXPECT_EQ(tokenizer.Bos(), std::nullopt);
    EXPECT_EQ(tokenizer.Eos(), 260);
  }
  folder.Write("tokenizer_config.json", R"({"bos_token": {"content": "hell", "lstrip": false}})");
  EXPECT_EQ(Tokenizer::Load(folder.path()).Bos(), 258);
  for (const char* bad : {R"({"bos_token": "<s>"})", R"({"bos_token": 5})", "[]", "{"}) {
    folder.Write("tokenizer_config.json", bad);
    try {
      Tokenizer::Load(folder.path());
      ADD_FAILURE() << "accepted " << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kContent);
      EXPECT_EQ(error.place().file(), folder.File("tokenizer_config.json"));
    }
  }
}

TEST(Tokenizer, SaysWhichFileIsMissing) {
  const TestFolder folder;
  try {
    Tokenizer::Load(folder.path());
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kMissing);
    EXPECT_EQ(error.place().file(), folder.File("tokenizer.json"));
  }
}

}  // namespace
}  // namespace lowbit
