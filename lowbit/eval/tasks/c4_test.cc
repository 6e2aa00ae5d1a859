// SPDX-License-Identifier: Apache-2.0
// C4's three protocols on documents made here: the official file is too large to ship.
#include "lowbit/eval/tasks/c4.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "lowbit/base/error_testing.h"
#include "lowbit/base/json.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/eval/document_windows.h"
#include "lowbit/text/archive_testing.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

const std::string kModels = std::string(LOWBIT_TESTDATA) + "/tokenizers/";

const Tokenizer& Qwen() {
  static const Tokenizer tokenizer = Tokenizer::Load(kModels + "qwen3_tokenizer.json");
  return tokenizer;
}
const Tokenizer& Llama() {
  static const Tokenizer tokenizer = Tokenizer::Load(kModels + "llama3style_tokenizer.json");
  return tokenizer;
}

// `words` words, other ones in each document.
std::string TextOf(size_t document, size_t words) {
  std::string text;
  for (size_t i = 0; i < words; ++i)
    text += fmt::format("{}{}", i == 0 ? "" : " ", (document * 7919 + i * 104729) % 997);
  return text;
}

class C4 : public testing::Test {
 protected:
  void Write(const std::string& content, const std::string& name = "validation.jsonl") {
    std::filesystem::create_directories(folder_.File("c4"));
    folder_.Write("c4/" + name, content);
  }
  void WriteTexts(const std::vector<std::string>& texts, const std::string& name = "validation.jsonl") {
    std::string lines;
    for (const std::string& text : texts)
      lines += Json{{"text", text}, {"timestamp", "2019-04-22T01:54:16Z"}, {"url", "http://x"}}.dump() + "\n";
    Write(name.ends_with(".gz") ? text_testing::Gzip(lines) : lines, name);
  }
  TaskOptions Options(size_t window = 0) const { return {.window = window, .data_folder = folder_.path()}; }

  TestFolder folder_;
};

TEST_F(C4, NewIsOneEncodingOfTheFirstTextsWithASpaceBetween) {
  std::vector<std::string> texts;
  std::string joined;
  for (size_t i = 0; i < 1105; ++i) {
    texts.push_back(TextOf(i, 3) + (i % 3 == 0 ? "\n" : ""));
    if (i < 1100) joined += (i == 0 ? "" : " ") + texts.back();
  }
  WriteTexts(texts, "c4-validation.00000-of-00008.json.gz");
  const WindowSource source = ReadC4New(Options());
  for (const Tokenizer* tokenizer : {&Qwen(), &Llama()}) {
    const TokenIds whole = tokenizer->Encode(joined);
    ASSERT_GT(whole.size(), 256u * 8);
    const WindowTokens tokens = source.tokens(*tokenizer, 8, 0);
    EXPECT_EQ(tokens.whole_windows, 256u);
    EXPECT_TRUE(std::ranges::equal(tokens.ids, std::span(whole).first(256u * 8)));
    EXPECT_EQ(source.tokens(*tokenizer, 100, 0).ids, whole);
    EXPECT_EQ(source.tokens(*tokenizer, 100, 0).whole_windows, whole.size() / 100);
    EXPECT_EQ(source.tokens(*tokenizer, SIZE_MAX / 16, 0).ids, whole);
  }
  EXPECT_THAT(source.tokens(Llama(), 8, 0).how, HasSubstr("BOS once"));
  EXPECT_THAT(source.tokens(Qwen(), 8, 0).how,
              HasSubstr("the first 1100 documents of c4/c4-validation.00000-of-00008 joined"));
}

TEST_F(C4, NewDoesNotReadOnBehindTheLastTextItNeeds) {
  std::string lines;
  for (size_t i = 0; i < 1100; ++i) lines += "{\"text\": \"a\"}\n";
  Write(lines + "no JSON\n");
  EXPECT_EQ(ReadC4New(Options()).tokens(Qwen(), 2, 0).whole_windows, 256u);
  EXPECT_THAT(ErrorOf([&] { ReadC4(Options()); }).what(), HasSubstr("validation.jsonl: line 1101: "));
}

TEST_F(C4, WindowsAreThoseDrawnOfDocumentsEncodedAlone) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < 40; ++i) texts.push_back(TextOf(i, 1 + i * 13 % 30));
  WriteTexts(texts);
  const WindowSource source = ReadC4(Options());
  for (const Tokenizer* tokenizer : {&Qwen(), &Llama()}) {
    std::vector<TokenIds> ids;
    for (const std::string& text : texts) ids.push_back(tokenizer->Encode(text));
    const auto drawn = DrawWindows(
        40, 24, 256, [&](size_t i) { return ids[i].size(); }, Place());
    TokenIds wanted;
    for (const DocumentWindow& at : drawn) {
      const auto begin = ids[at.document].begin() + static_cast<ptrdiff_t>(at.offset);
      wanted.insert(wanted.end(), begin, begin + 24);
    }
    EXPECT_EQ(source.tokens(*tokenizer, 24, 0).ids, wanted);
    EXPECT_EQ(source.tokens(*tokenizer, 24, 0).whole_windows, 256u);
    const WindowTokens two = source.tokens(*tokenizer, 24, 2);
    EXPECT_TRUE(std::ranges::equal(two.ids, std::span(wanted).first(48)));
  }
  EXPECT_THAT(ErrorOf([&] { source.tokens(Qwen(), 2000, 0); }).what(),
              HasSubstr("validation.jsonl: none of its 40 documents has more than 2000 tokens"));
}

// Window 0 whole, window 1 short because its document is shorter than the list says: the rest moves up.
TEST_F(C4, StudyJoinsTheListedWindowsAndCutsAgain) {
  const std::vector<std::string> texts = {"short", TextOf(1, 1200), TextOf(2, 900), "left out"};
  WriteTexts(texts);
  const TokenIds first = Qwen().Encode(texts[1]), second = Qwen().Encode(texts[2]);
  ASSERT_GT(first.size(), 2048u + 10);
  ASSERT_GT(second.size(), 1000u);
  const std::string header = "window,doc_index,token_offset,doc_tokens_min,doc_tokens_max\n";
  const auto list = [&](size_t offset, size_t fewest, size_t most) {
    return header + fmt::format("0,1,10,{0},{0}\n1,2,{1},{2},{3}\n2,1,2,{0},{0}\n", first.size(), offset,
                                fewest, most);
  };
  Write(list(100, second.size() - 1, second.size()), "study-windows.csv");
  WindowTokens tokens = ReadC4Study(Options()).tokens(Qwen(), 2048, 0);
  TokenIds wanted(first.begin() + 10, first.begin() + 10 + 2048);
  wanted.insert(wanted.end(), second.begin() + 100,
                second.begin() + static_cast<ptrdiff_t>(std::min<size_t>(second.size(), 2148)));
  wanted.insert(wanted.end(), first.begin() + 2, first.begin() + 2050);
  EXPECT_EQ(tokens.ids, wanted);
  EXPECT_EQ(tokens.whole_windows, wanted.size() / 2048);
  EXPECT_THAT(tokens.how,
              HasSubstr("3 windows at the study's document indices and token offsets (0 of documents"));

  Write(list(100, 5000, 5100), "study-windows.csv");
  testing::internal::CaptureStderr();
  tokens = ReadC4Study(Options(2048)).tokens(Qwen(), 2048, 0);
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              HasSubstr("1 of 3 windows come from documents that have another"));
  EXPECT_EQ(tokens.ids, wanted);
  EXPECT_THAT(tokens.how, HasSubstr("(1 of documents"));

  Write(list(4999, 5000, 5100), "study-windows.csv");
  EXPECT_THAT(ErrorOf([&] { ReadC4Study(Options()).tokens(Qwen(), 2048, 0); }).what(),
              HasSubstr("study-windows.csv: window 1: begins at token 4999 of document 2, which has "));
  EXPECT_EQ(ErrorOf([&] { ReadC4Study(Options(512)); }).kind(), ErrorKind::kUsage);
}

TEST_F(C4, StudyTakesTheListThatShipsWhereThereIsNoOtherAndRefusesOtherDocuments) {
  WriteTexts({"a", "b"});
  ::setenv("LOWBIT_DATA", LOWBIT_SOURCE_DIR "/data", 1);
  const Error error = ErrorOf([&] { ReadC4Study(Options()); });
  EXPECT_EQ(error.kind(), ErrorKind::kContent);
  EXPECT_THAT(error.what(),
              HasSubstr("c4/study-windows.csv: window 0: begins in document 25247, but there are 2"));
}

TEST_F(C4, HashesItsFiles) {
  WriteTexts({"a", "b"});
  const std::string plain = ReadC4(Options()).data_hash;
  EXPECT_THAT(
      ReadC4New(Options()).tokens(Qwen(), 2, 0).how,
      HasSubstr("the first 2 documents of c4/validation (it has no more, the protocol takes 1100) joined"));
  EXPECT_EQ(ReadC4New(Options()).data_hash, plain);
  WriteTexts({"a", "c"});
  EXPECT_NE(ReadC4(Options()).data_hash, plain);
}

TEST_F(C4, RefusesWhatIsNoC4) {
  EXPECT_EQ(ErrorOf([&] { ReadC4(Options()); }).kind(), ErrorKind::kMissing);
  const auto refusal = [&](const std::string& content, WindowSource (*read)(const TaskOptions&)) {
    Write(content);
    const Error error = ErrorOf([&] { read(Options()); });
    EXPECT_EQ(error.kind(), ErrorKind::kContent) << error.what();
    return std::string(error.what());
  };
  for (auto* const read : {&ReadC4New, &ReadC4, &ReadC4Study}) {
    EXPECT_THAT(refusal("", read), HasSubstr("c4/validation.jsonl: holds no documents"));
    EXPECT_THAT(refusal("{\"text\": \"a\"}\n{\"txt\": \"a\"}\n", read), HasSubstr("line 2"));
    EXPECT_THAT(refusal("{\"text\": 7}\n", read), HasSubstr("line 1: key 'text': is 7, expected a string"));
    EXPECT_THAT(refusal("{\"text\": \"caf\xE9\"}\n", read), HasSubstr("line 1"));
  }
}

// The whole task, and what only tasks know.
TEST_F(C4, TasksScoreTheirWindows) {
  std::vector<std::string> texts;
  for (size_t i = 0; i < 10; ++i) texts.push_back(TextOf(i, 30));
  WriteTexts(texts);
  const Threads threads(2);
  const std::string model = std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3";
  const auto source = OpenModel(model);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const Decoder decoder(*source, *backend);
  const Scorer scorer(decoder);
  const Tokenizer tokenizer = Tokenizer::Load(model);
  TaskOptions options = Options(16);
  options.windows = 3;
  for (const char* name : {"c4-new", "c4"}) {
    const auto task = MakeTask(name, options);
    const TaskResult result = task->Run(scorer, tokenizer, nullptr);
    EXPECT_EQ(result.task, name);
    EXPECT_THAT(result.protocol, HasSubstr(", 3 of "));
    ASSERT_EQ(result.measurements.size(), 1u);
    EXPECT_EQ(result.measurements[0].name, "perplexity");
    EXPECT_EQ(result.measurements[0].n, 3u * 15);
    EXPECT_GT(result.measurements[0].value, 1);
    EXPECT_EQ(task->Job(tokenizer, source->config()).sequences, 3u);
    EXPECT_THAT(task->Settings(), HasSubstr(name));
  }
}

}  // namespace
}  // namespace lowbit
