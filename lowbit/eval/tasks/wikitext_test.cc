// SPDX-License-Identifier: Apache-2.0
// Pages and their text are held against testdata/eval/wikitext_detok.jsonl, made with lm-evaluation-harness's own
// functions, and for the whole official file against hashes of what they give.
#include "lowbit/eval/tasks/wikitext.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/error_testing.h"
#include "lowbit/base/files.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/eval/tasks/wikitext_page.h"
#include "lowbit/text/python_text.h"
#include "lowbit/text/text_file.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kData = std::string(LOWBIT_SOURCE_DIR) + "/data";

TEST(WikiTextPage, DetokenizesAsTheHarnessDoes) {
  size_t rows = 0;
  ForEachJsonLine(std::string(LOWBIT_TESTDATA) + "/eval/wikitext_detok.jsonl",
                  [&](size_t line, const Json& row) {
                    const auto page = row.at("page").get<std::string>();
                    EXPECT_EQ(DetokenizePage(page), row.at("detokenized").get<std::string>()) << line;
                    EXPECT_EQ(SplitCount(page), row.at("words").get<size_t>()) << line;
                    EXPECT_EQ(page.size(), row.at("bytes").get<size_t>()) << line;
                    ++rows;
                  });
  EXPECT_EQ(rows, 64u);
}

TEST(WikiTextPage, BeginsAtATitleOfTheFirstLevel) {
  EXPECT_THAT(CutPages(" \n = A = \n \n = = B = = \n text = x \n = C = \n last"),
              ElementsAre(" = A = \n \n = = B = = \n text = x ", " = C = \n last"));
  EXPECT_THAT(CutPages("before\n = A = "), ElementsAre("before", " = A = "));
  EXPECT_THAT(CutPages("\t= A =\x1C\n"), ElementsAre("\t= A =\x1C\n"));
  EXPECT_THAT(CutPages("= A =\n= B =\n= C ="), ElementsAre("= A =", "= B =", "= C ="));
  EXPECT_THAT(CutPages("=\n= =\n=  =\n = = = \n= A"), testing::SizeIs(2));  // "=  =" is one
}

TEST(WikiTextPage, AreThe62OfTheOfficialFile) {
  const std::string raw = ReadFile(kData + "/wikitext2/wiki.test.raw");
  std::string pages, texts;
  size_t words = 0, bytes = 0, count = 0;
  for (const std::string_view page : CutPages(raw)) {
    pages += (count++ == 0 ? std::string() : std::string(1, '\0')) + std::string(page);
    texts += DetokenizePage(page);
    words += SplitCount(page);
    bytes += page.size();
  }
  EXPECT_EQ(count, 62u);
  EXPECT_EQ(words, 241335u);
  EXPECT_EQ(bytes, 1290527u);
  EXPECT_EQ(Sha256Hex(pages), "d0b16b3ea2df933c8a7c98e8b39093f025b25aa357d03b598e6532b2ec27f78c");
  EXPECT_EQ(Sha256Hex(texts), "d6535ca809061590d5e672ac43d8d2d5e1fb500c3005768f6050dcc007786165");
}

TEST(ReadWikiTextPages, TakesPagesBeforeTheRawText) {
  const TestFolder folder;
  std::filesystem::create_directories(folder.File("wikitext2"));
  folder.Write("wikitext2/wiki.test.raw", " = A = \n a @-@ b \n = B = \n c \n");
  const TaskOptions options{.data_folder = folder.path()};
  const RollingSet raw = ReadWikiTextPages(options);
  ASSERT_EQ(raw.texts.size(), 2u);
  EXPECT_EQ(raw.texts[0].text, " = A =\na-b ");
  EXPECT_EQ(raw.texts[0].words, 8u);
  EXPECT_EQ(raw.texts[0].bytes, 17u);
  folder.Write("wikitext2/wiki.test.pages.jsonl", "{\"page\": \" x \"}\n");
  const RollingSet pages = ReadWikiTextPages(options);
  ASSERT_EQ(pages.texts.size(), 1u);
  EXPECT_EQ(pages.texts[0].words, 3u);
  EXPECT_NE(pages.data_hash, raw.data_hash);
  EXPECT_EQ(ReadWikiTextPages({.data_folder = kData}).texts.size(), 62u);  // what ships
}

TEST(ReadWikiTextPages, RefusesWhatIsNone) {
  const TestFolder folder;
  std::filesystem::create_directories(folder.File("wikitext2"));
  const auto refusal = [&](const std::string& content) {
    folder.Write("wikitext2/wiki.test.pages.jsonl", content);
    const Error error = ErrorOf([&] { ReadWikiTextPages({.data_folder = folder.path()}); });
    EXPECT_EQ(error.kind(), ErrorKind::kContent);
    return std::string(error.what());
  };
  EXPECT_THAT(refusal(""), HasSubstr("wiki.test.pages.jsonl: holds no pages"));
  EXPECT_THAT(refusal("{\"page\": \"a\"}\n{\"text\": \"a\"}\n"), HasSubstr("line 2"));
  EXPECT_THAT(refusal("{\"page\": \"\"}\n"), HasSubstr("line 1: key 'page': is empty"));
  EXPECT_THAT(refusal("{\"page\": [\"a\"]}\n"), HasSubstr("expected a string"));
  EXPECT_THAT(refusal("{\"page\": \"caf\xE9\"}\n"), HasSubstr("line 1"));
}

}  // namespace
}  // namespace lowbit
