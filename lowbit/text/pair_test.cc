// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/pair.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/test_folder.h"
#include "lowbit/text/testing.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using text_testing::GoldenTokenizer;
using text_testing::ParseSmall;
using text_testing::SmallTokenizer;
using Ids = std::vector<int32_t>;

class GoldenPairs : public testing::TestWithParam<const char*> {};

TEST_P(GoldenPairs, SplitAsTheHarnessSplits) {
  const Tokenizer& tokenizer = GoldenTokenizer(GetParam());
  for (const Json& line : text_testing::ReadVectors(std::string("pairs_") + GetParam() + ".jsonl")) {
    SCOPED_TRACE("id " + line["id"].dump());
    const std::string context = line["context"], continuation = line["continuation"];
    const TokenPair pair = EncodePair(tokenizer, context, continuation);
    EXPECT_EQ(pair.context, line["context_ids"].get<Ids>());
    EXPECT_EQ(pair.continuation, line["continuation_ids"].get<Ids>());
    EXPECT_EQ(tokenizer.Encode(context + continuation), line["whole_ids"].get<Ids>());
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, GoldenPairs, testing::Values("qwen3", "smollm2"));

// The small tokenizer with <|end|> (260) before every text, as LLaMA-3 has its BOS.
Tokenizer WithBos() {
  Json json = SmallTokenizer();
  json["post_processor"] = Json::parse(R"({
    "type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<|end|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
    "special_tokens": {"<|end|>": {"id": "<|end|>", "ids": [260], "tokens": ["<|end|>"]}}})");
  return ParseSmall(json);
}

TEST(EncodeText, PutsBosWhereAContextHasIt) {
  const Tokenizer bos = WithBos(), none = ParseSmall(SmallTokenizer());
  EXPECT_THAT(EncodeText(bos, "a "), ElementsAre(260, 'a', ' '));
  EXPECT_THAT(EncodeText(bos, "<|end|>a"), ElementsAre(260, 'a'));
  EXPECT_THAT(EncodeText(bos, "a", {.bos = BosRule::kOff}), ElementsAre('a'));
  EXPECT_THAT(EncodeText(none, "a"), ElementsAre('a'));
  EXPECT_EQ(PrefixToken(bos), 260);
  EXPECT_EQ(PrefixToken(none, {.prefix = 7}), 7);
  EXPECT_THROW(PrefixToken(none), Error);
}

TEST(EncodePair, MovesEveryKindOfWhiteSpaceThatPythonStrips) {
  const Tokenizer tokenizer = ParseSmall(SmallTokenizer());
  for (const std::string space :
       {" ", "\t\n", "\r\n ", "\u00A0", "\u3000 ", "\u0085", "\x1C", "\x1F", "\u2028"}) {
    const TokenPair pair = EncodePair(tokenizer, "a" + space, "b");
    EXPECT_THAT(pair.context, ElementsAre('a'));
    EXPECT_EQ(tokenizer.Decode(pair.continuation), space + "b");
  }
  for (const std::string kept : {"\u200B", "\uFEFF", "\u180E", "\x1B"}) {
    EXPECT_THAT(EncodePair(tokenizer, "a" + kept, "b").continuation, ElementsAre('b'));
  }
}

TEST(EncodePair, BeginsWithBosByDefaultWhereTheTokenizerDoes) {
  const TokenPair pair = EncodePair(WithBos(), "a", "b");
  EXPECT_THAT(pair.context, ElementsAre(260, 'a'));
  EXPECT_THAT(pair.continuation, ElementsAre('b'));
  EXPECT_THAT(EncodePair(WithBos(), "a", "b", {.bos = BosRule::kOff}).context, ElementsAre('a'));
  EXPECT_THAT(EncodePair(WithBos(), "a", "b", {.bos = BosRule::kOn}).context, ElementsAre(260, 'a'));
}

TEST(EncodePair, AddsNoSecondBosToATextThatBeginsWithIt) {
  for (const BosRule bos : {BosRule::kAuto, BosRule::kOn, BosRule::kOff}) {
    const TokenPair pair = EncodePair(WithBos(), "<|end|>a", "b", {.bos = bos});
    EXPECT_THAT(pair.context, ElementsAre(260, 'a'));
    EXPECT_THAT(pair.continuation, ElementsAre('b'));
  }
}

TEST(EncodePair, FeedsThePrefixTokenForAnEmptyContext) {
  TokenPair pair = EncodePair(WithBos(), "", "ab");
  EXPECT_THAT(pair.context, ElementsAre(260));
  EXPECT_THAT(pair.continuation, ElementsAre('a', 'b'));
  // A continuation that begins with the prefix token lends it.
  pair = EncodePair(WithBos(), "", "<|end|>ab");
  EXPECT_THAT(pair.context, ElementsAre(260));
  EXPECT_THAT(pair.continuation, ElementsAre('a', 'b'));
  // A context of nothing but white space is empty once that has moved.
  pair = EncodePair(WithBos(), " \n", "a");
  EXPECT_THAT(pair.context, ElementsAre(260));
  EXPECT_THAT(pair.continuation, ElementsAre(' ', '\n', 'a'));
  pair = EncodePair(ParseSmall(SmallTokenizer()), "", "a", {.prefix = 261});
  EXPECT_THAT(pair.context, ElementsAre(261));
}

TEST(EncodePair, TakesTheEosOfTheConfigWhereThereIsNoBos) {
  const TestFolder folder;
  folder.Write("tokenizer.json", SmallTokenizer().dump());
  folder.Write("tokenizer_config.json", R"({"bos_token": null, "eos_token": "<|end|>"})");
  const Tokenizer tokenizer = Tokenizer::Load(folder.path());
  EXPECT_THAT(EncodePair(tokenizer, "", "a").context, ElementsAre(260));
  EXPECT_THAT(EncodePair(tokenizer, "a", "b").context, ElementsAre('a'));
}

void ExpectError(ErrorKind kind, const char* says, std::string_view context,
                 const PairOptions& options = {}) {
  try {
    EncodePair(ParseSmall(SmallTokenizer()), context, "b", options);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), kind);
    EXPECT_THAT(error.what(), HasSubstr(says));
  }
}

TEST(EncodePair, SaysWhichTokenIsMissing) {
  ExpectError(ErrorKind::kContent, "tokenizer.json: names neither a bos nor an eos token", "");
  ExpectError(ErrorKind::kUsage, "tokenizer.json: has no bos token", "a", {.bos = BosRule::kOn});
}

TEST(EncodePair, RefusesAContextThatIsNotUtf8) {
  for (const char* bad : {"\xFF", "a\xC2", "\x80\x80\x80\x80\x80", "\xE3\x80"}) {
    ExpectError(ErrorKind::kContent, "not valid UTF-8", bad);
  }
}

}  // namespace
}  // namespace lowbit
