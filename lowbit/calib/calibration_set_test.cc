// SPDX-License-Identifier: Apache-2.0
#include "lowbit/calib/calibration_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "lowbit/base/random.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/text/archive_testing.h"
#include "lowbit/text/testing.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Every byte is a token (but "he", "ll", "hell" and two blanks): texts whose tokens can be counted by hand.
const Tokenizer& Small() {
  static const Tokenizer tokenizer = text_testing::ParseSmall(text_testing::SmallTokenizer());
  return tokenizer;
}

std::string Lines(const std::vector<std::string>& texts) {
  std::string lines;
  for (const std::string& text : texts) lines += Json{{"text", text}, {"url", "x"}}.dump() + "\n";
  return lines;
}

std::vector<std::string> TextsOf(const CalibrationSet& set) {
  std::vector<std::string> texts;
  for (const TokenIds& tokens : set.sequences) texts.push_back(Small().Decode(tokens));
  return texts;
}

Error ErrorOf(const CalibrationSpec& spec, const Tokenizer& tokenizer = Small()) {
  try {
    LoadCalibrationSet(spec, tokenizer);
  } catch (const Error& error) {
    return error;
  }
  return Error(ErrorKind::kInternal, "accepted");
}

TEST(CalibrationSet, ConcatCutsDocumentsInTheirOrder) {
  const TestFolder folder;
  const std::string file = folder.Write("x.jsonl", Lines({"abcde", "", "fg", "ijkmnopqrs", "not needed"}));
  CalibrationSpec spec = {.file = file, .samples = 3, .length = 4};
  const CalibrationSet set = LoadCalibrationSet(spec, Small());
  EXPECT_THAT(TextsOf(set), ElementsAre("abcd", "efgi", "jkmn"));
  EXPECT_EQ(set.documents, 4u);
  EXPECT_EQ(set.Tokens(), 12u);
  spec.length = 17;
  spec.samples = 1;
  EXPECT_THAT(TextsOf(LoadCalibrationSet(spec, Small())), ElementsAre("abcdefgijkmnopqrs"));
}

TEST(CalibrationSet, ConcatReadsNoFartherThanItNeeds) {
  const TestFolder folder;
  const std::string file = folder.Write("x.jsonl", Lines({"abcdefg", "ijkmnop"}) + "no JSON\n");
  const CalibrationSet set = LoadCalibrationSet({.file = file, .samples = 2, .length = 3}, Small());
  EXPECT_THAT(TextsOf(set), ElementsAre("abc", "def"));
  EXPECT_EQ(set.documents, 1u) << "what is held out is not of the set";
  const Error error = ErrorOf({.file = file, .samples = 3, .length = 3});
  EXPECT_EQ(error.kind(), ErrorKind::kContent);
  EXPECT_THAT(error.place().item(), HasSubstr("line 3"));
}

std::vector<std::string> HeldOutOf(const CalibrationSet& set) {
  std::vector<std::string> texts;
  for (const TokenIds& tokens : set.held_out) texts.push_back(Small().Decode(tokens));
  return texts;
}

TEST(CalibrationSet, ConcatHoldsOutWhatFollowsTheSetAsFarAsTheTextGoes) {
  const TestFolder folder;
  const auto load = [&](const std::vector<std::string>& texts) {
    return LoadCalibrationSet({.file = folder.Write("x.jsonl", Lines(texts)), .samples = 2, .length = 3},
                              Small());
  };
  const CalibrationSet both = load({"abcdefg", "ijkmnop"}), one = load({"abcdefg", "ij"}),
                       none = load({"abcdefg"});
  EXPECT_THAT(HeldOutOf(both), ElementsAre("gij", "kmn")) << "as many as the set has, at most";
  EXPECT_THAT(HeldOutOf(one), ElementsAre("gij"));
  EXPECT_THAT(HeldOutOf(none), ElementsAre());
  EXPECT_EQ(none.held_out_hash, "");
  EXPECT_NE(one.held_out_hash, both.held_out_hash);
  EXPECT_EQ(none.hash, both.hash) << "the set is the same";
}

TEST(CalibrationSet, HoldsOutAFewHundredTokensHoweverLongSequencesAre) {
  const TestFolder folder;
  const std::string file = folder.Write("x.txt", std::string(9000, 'a'));
  const auto lengths_of = [&](size_t samples, size_t length) {
    std::vector<size_t> lengths;
    for (const TokenIds& ids :
         LoadCalibrationSet({.file = file, .samples = samples, .length = length}, Small()).held_out) {
      lengths.push_back(ids.size());
    }
    return lengths;
  };
  EXPECT_EQ(lengths_of(4, 2048), std::vector<size_t>{512});
  EXPECT_EQ(lengths_of(8, 200), (std::vector<size_t>{200, 200, 200}));
}

TEST(CalibrationSet, AnyOtherFileIsOneDocumentAndArchivesAreTheSame) {
  const TestFolder folder;
  const std::string text = "one\ntwo\nthree\n", lines = Lines({"one\n", "two\n", "three\n"});
  const CalibrationSpec spec = {.file = folder.Write("x.txt", text), .samples = 2, .length = 7};
  const CalibrationSet set = LoadCalibrationSet(spec, Small());
  EXPECT_THAT(TextsOf(set), ElementsAre("one\ntwo", "\nthree\n"));
  const auto hash_of = [&](const std::string& file) {
    CalibrationSpec other = spec;
    other.file = file;
    return LoadCalibrationSet(other, Small()).hash;
  };
  EXPECT_EQ(hash_of(folder.Write("x.txt.gz", text_testing::Gzip(text))), set.hash);
  EXPECT_EQ(hash_of(folder.Write("x.txt.zst", text_testing::Zstd(text))), set.hash);
  EXPECT_EQ(hash_of(folder.Write("x.json.gz", text_testing::Gzip(lines))), set.hash);
  EXPECT_EQ(hash_of(folder.Write("x.jsonl.zst", text_testing::Zstd(lines))), set.hash);
}

// Documents "0000000000", "1111…": of 10 tokens each when `length` is 10.
std::vector<std::string> Documents(size_t count, size_t length) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < count; ++i) texts.push_back(std::string(length, static_cast<char>('A' + i)));
  return texts;
}

TEST(CalibrationSet, WindowTakesNoDocumentTwiceAndOnlyLongOnes) {
  const TestFolder folder;
  std::vector<std::string> texts = Documents(20, 10);
  for (size_t i = 0; i < texts.size(); i += 2) texts[i].resize(5);
  CalibrationSpec spec = {.file = folder.Write("x.jsonl", Lines(texts)),
                          .samples = 10,
                          .length = 5,
                          .policy = CalibrationPolicy::kWindow};
  std::set<std::string> seen;
  for (const std::string& text : TextsOf(LoadCalibrationSet(spec, Small()))) {
    EXPECT_EQ(text, std::string(5, text[0]));
    EXPECT_EQ((text[0] - 'A') % 2, 1) << "a document of T tokens is not longer than T";
    seen.insert(text);
  }
  EXPECT_EQ(seen.size(), 10u);
  spec.samples = 11;
  const Error error = ErrorOf(spec);
  EXPECT_EQ(error.kind(), ErrorKind::kContent);
  EXPECT_THAT(error.message(),
              HasSubstr("10 of its 20 documents have more than 5 tokens, expected at least 11"));
}

TEST(CalibrationSet, WindowsBeginAnywhereButNeverTakeTheLastToken) {
  const TestFolder folder;
  CalibrationSpec spec = {.file = folder.Write("x.txt", "0123456789"),
                          .samples = 1,
                          .length = 7,
                          .policy = CalibrationPolicy::kWindow};
  std::set<std::string> seen;
  for (spec.seed = 0; spec.seed < 60; ++spec.seed) {
    seen.insert(TextsOf(LoadCalibrationSet(spec, Small()))[0]);
  }
  EXPECT_THAT(seen, ElementsAre("0123456", "1234567", "2345678"));
}

// Every document is as likely as every other, and comes first as often.
TEST(CalibrationSet, WindowsComeFromAllOfTheFileInRandomOrder) {
  const TestFolder folder;
  CalibrationSpec spec = {.file = folder.Write("x.jsonl", Lines(Documents(12, 4))),
                          .samples = 3,
                          .length = 3,
                          .policy = CalibrationPolicy::kWindow};
  std::map<char, int> taken, first;
  for (spec.seed = 0; spec.seed < 600; ++spec.seed) {
    const std::vector<std::string> texts = TextsOf(LoadCalibrationSet(spec, Small()));
    for (const std::string& text : texts) ++taken[text[0]];
    ++first[texts[0][0]];
  }
  for (char c = 'A'; c < 'A' + 12; ++c) {
    EXPECT_NEAR(taken[c], 150, 45) << c;  // deviation 10.6
    EXPECT_NEAR(first[c], 50, 30) << c;   // deviation 6.8
  }
}

// Leaving out documents that cannot be chosen any more does not change what is chosen: by the definition.
TEST(CalibrationSet, WindowsAreThoseOfTheSmallestNumbers) {
  const TestFolder folder;
  const std::vector<std::string> texts = Documents(26, 9);
  const CalibrationSpec spec = {.file = folder.Write("x.jsonl", Lines(texts)),
                                .samples = 4,
                                .length = 6,
                                .policy = CalibrationPolicy::kWindow,
                                .seed = 3};
  std::vector<std::pair<uint64_t, std::string>> all;
  for (size_t i = 0; i < texts.size(); ++i) {
    SplitMix64 random = SplitMix64::ForItem(3, i);
    const uint64_t number = random.Next();
    all.emplace_back(number, texts[i].substr(random.Below(9 - 6), 6));
  }
  std::sort(all.begin(), all.end());
  const CalibrationSet set = LoadCalibrationSet(spec, Small());
  EXPECT_THAT(TextsOf(set), ElementsAre(all[0].second, all[1].second, all[2].second, all[3].second));
  EXPECT_THAT(HeldOutOf(set), ElementsAre(all[4].second, all[5].second, all[6].second, all[7].second));
  EXPECT_EQ(set.documents, 26u);
  EXPECT_LT(set.tokenized, 26u);
}

TEST(CalibrationSet, HashAndKeySayWhatChangesTheTokens) {
  const TestFolder folder;
  const std::string file = folder.Write("x.jsonl", Lines(Documents(20, 100)));
  CalibrationSpec spec = {.file = file, .samples = 4, .length = 20};
  const CalibrationSet concat = LoadCalibrationSet(spec, Small());
  EXPECT_EQ(concat.hash.size(), 64u);
  EXPECT_EQ(concat.Key(), "calibration v1 concat samples=4 length=20 sha256=" + concat.hash);
  spec.seed = 9;
  EXPECT_EQ(LoadCalibrationSet(spec, Small()).Key(), concat.Key()) << "concat has no seed";
  std::set<std::string> hashes = {concat.hash};
  const auto other = [&] { EXPECT_TRUE(hashes.insert(LoadCalibrationSet(spec, Small()).hash).second); };
  spec.policy = CalibrationPolicy::kWindow;
  other();
  EXPECT_EQ(spec.Text(), "window samples=4 length=20 seed=9");
  spec.seed = 10;
  other();
  spec.samples = 5;
  other();
  spec.length = 21;
  other();
  spec.file = folder.Write("y.jsonl", Lines(Documents(19, 100)));
  spec.policy = CalibrationPolicy::kConcat;
  other();
}

// Numbers of Python's hashlib over the same text and int32 tokens.
TEST(CalibrationSet, HashIsThatOfTheDocumentedBytes) {
  const TestFolder folder;
  const CalibrationSet set =
      LoadCalibrationSet({.file = folder.Write("x.txt", "abcd"), .samples = 2, .length = 2}, Small());
  EXPECT_THAT(set.sequences, ElementsAre(ElementsAre(97, 98), ElementsAre(99, 100)));
  EXPECT_EQ(set.hash, "d73d50854e8f2ed9a5879aa5124cb8c46f5fc4b8fd962a525f383aeb0196257c");
}

TEST(CalibrationSet, TokenizesWithoutSpecialTokens) {
  const TestFolder folder;
  const std::string file = folder.Write("x.jsonl", Lines({"What does every bit cost?", "A short text."}));
  const Tokenizer& llama = text_testing::GoldenTokenizer("llama3style");  // puts BOS before every text
  std::vector<int32_t> ids = llama.Encode("What does every bit cost?", false);
  const std::vector<int32_t> more = llama.Encode("A short text.", false);
  ids.insert(ids.end(), more.begin(), more.end());
  EXPECT_NE(llama.Encode("A short text.").size(), more.size());
  const CalibrationSet set = LoadCalibrationSet({.file = file, .samples = 1, .length = ids.size()}, llama);
  EXPECT_EQ(set.sequences[0], ids);
}

TEST(CalibrationSet, RefusesWhatIsNotEnough) {
  const TestFolder folder;
  const auto says = [&](const std::string& content) {
    const Error error = ErrorOf({.file = folder.Write("x.jsonl", content), .samples = 2, .length = 3});
    EXPECT_EQ(error.kind(), ErrorKind::kContent);
    return error.message();
  };
  EXPECT_THAT(says(""), HasSubstr("holds 0 tokens in 0 documents: 0 samples of 3, expected at least 2"));
  EXPECT_THAT(says(Lines({"ab", "cde"})), HasSubstr("holds 5 tokens in 2 documents: 1 samples of 3"));
}

TEST(CalibrationSet, RefusesLinesWithoutATextAndMissingFiles) {
  const TestFolder folder;
  const auto text_of = [&](const std::string& line) {
    return std::string(ErrorOf({.file = folder.Write("x.jsonl", Lines({"abc"}) + line + "\n")}).what());
  };
  EXPECT_THAT(text_of("{\"texts\": \"a\"}"), HasSubstr("line 2: has no key 'text'"));
  EXPECT_THAT(text_of("{\"text\": null}"), HasSubstr("line 2: key 'text': is null"));
  EXPECT_THAT(text_of("{\"text\": [1]}"), HasSubstr("line 2: key 'text': is a list"));
  EXPECT_EQ(ErrorOf({.file = folder.File("none.jsonl")}).kind(), ErrorKind::kMissing);
  EXPECT_EQ(ErrorOf({.file = folder.path()}).kind(), ErrorKind::kMissing);
}

TEST(CalibrationSpec, RefusesNumbersThatMakeNoSense) {
  const auto says = [](CalibrationSpec spec) {
    const Error error = ErrorOf(spec);
    EXPECT_EQ(error.kind(), ErrorKind::kUsage);
    return error.message();
  };
  EXPECT_THAT(says({}), HasSubstr("expected a file"));
  EXPECT_THAT(says({.file = "x", .samples = 0}), HasSubstr("0 calibration samples"));
  EXPECT_THAT(says({.file = "x", .length = 1}), HasSubstr("samples of 1 tokens"));
  EXPECT_THAT(says({.file = "x", .samples = 1 << 20, .length = 1 << 20}), HasSubstr("at most 2147483648"));
  EXPECT_THAT(says({.file = "x", .samples = ~size_t{0}, .length = ~size_t{0}}), HasSubstr("at most"));
}

TEST(FindCalibrationText, KnowsC4AndTakesEverythingElseForAFile) {
  const std::vector<std::string> folders = {"/no/such/folder", LOWBIT_SOURCE_DIR "/data"};
  const std::string file = LOWBIT_SOURCE_DIR "/data/c4/train.head.jsonl";
  EXPECT_EQ(FindCalibrationText("c4", folders), file);
  EXPECT_EQ(FindCalibrationText("c4.jsonl", folders), "c4.jsonl");
  try {
    FindCalibrationText("c4", std::span(folders).first(1));
    ADD_FAILURE() << "found";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kMissing);
    EXPECT_THAT(error.what(), HasSubstr("/no/such/folder"));
  }
  // It holds what the demo asks of it.
  const Tokenizer& demo = text_testing::GoldenTokenizer("demo");
  const CalibrationSet set = LoadCalibrationSet({.file = file, .samples = 128, .length = 512}, demo);
  EXPECT_EQ(set.sequences.size(), 128u);
  demo.RequireRows(4096);
}

TEST(CalibrationPolicy, NamesAreItsWords) {
  EXPECT_EQ(ParseCalibrationPolicy("concat"), CalibrationPolicy::kConcat);
  EXPECT_EQ(ParseCalibrationPolicy("window"), CalibrationPolicy::kWindow);
  EXPECT_THROW(ParseCalibrationPolicy("Window"), Error);
}

}  // namespace
}  // namespace lowbit
