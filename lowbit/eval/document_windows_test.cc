// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/document_windows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "lowbit/base/error_testing.h"
#include "lowbit/base/test_folder.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const std::string kStudyList = std::string(LOWBIT_SOURCE_DIR) + "/data/c4/study-windows.csv";
constexpr size_t kShardDocuments = 45576, kWindow = 2048;

struct Bounds {
  size_t fewest = 0, most = SIZE_MAX;
};

// The list is what the generator draws, whatever the counts inside the bounds are: 256 windows of 231 documents among
// thousands of draws that find a document too short.
TEST(DrawWindows, GivesTheStudysListWhereCountsAreInsideItsBounds) {
  const std::vector<ListedWindow> list = ReadWindowList(kStudyList);
  ASSERT_EQ(list.size(), 256u);
  std::map<size_t, Bounds> bounds;
  std::vector<DocumentWindow> wanted;
  for (const ListedWindow& window : list) {
    Bounds& b = bounds[window.at.document];
    b = {std::max(b.fewest, window.fewest), std::min(b.most, window.most)};
    wanted.push_back(window.at);
  }
  for (const bool most : {false, true}) {
    const TokenCounts count = [&](size_t i) -> size_t {
      const auto listed = bounds.find(i);
      if (listed == bounds.end()) return i % kWindow;
      return most ? listed->second.most : listed->second.fewest;
    };
    EXPECT_EQ(DrawWindows(kShardDocuments, kWindow, 256, count, Place()), wanted);
  }
  bounds[list[7].at.document].fewest = list[7].most + 1;  // 8155: its offset takes one bit more
  const TokenCounts beyond = [&](size_t i) {
    const auto listed = bounds.find(i);
    return listed == bounds.end() ? 0 : listed->second.fewest;
  };
  EXPECT_NE(DrawWindows(kShardDocuments, kWindow, 256, beyond, Place()), wanted);
}

TEST(DrawWindows, IsTheBeginningOfALongerDraw) {
  const TokenCounts count = [](size_t i) { return 10 + i * 7 % 40; };
  const std::vector<DocumentWindow> all = DrawWindows(50, 32, 40, count, Place());
  std::vector<DocumentWindow> few = DrawWindows(50, 32, 3, count, Place());
  ASSERT_EQ(all.size(), 40u);
  EXPECT_TRUE(std::ranges::equal(few, std::span(all).first(3)));
  for (const DocumentWindow& at : all) EXPECT_LT(at.offset + 32, count(at.document));  // never the last token
}

TEST(DrawWindows, DrawsAgainWhereADocumentIsExactlyAWindow) {
  const std::vector<size_t> counts = {40, 32, 33};  // 33 leaves one place to begin
  for (const DocumentWindow& at : DrawWindows(
           3, 32, 30, [&](size_t i) { return counts[i]; }, Place())) {
    EXPECT_NE(at.document, 1u);
    EXPECT_TRUE(at.document != 2 || at.offset == 0);
  }
}

TEST(DrawWindows, RefusesDocumentsOfWhichNoneIsLongEnough) {
  const Error error = ErrorOf([] {
    DrawWindows(
        300, 32, 4, [](size_t i) { return i % 33; }, Place("c4/validation.jsonl"));
  });
  EXPECT_EQ(error.kind(), ErrorKind::kContent);
  EXPECT_THAT(error.what(),
              HasSubstr("c4/validation.jsonl: none of its 300 documents has more than 32 tokens"));
}

const std::string kHeader = "window,doc_index,token_offset,doc_tokens_min,doc_tokens_max\n";

TEST(WindowList, IsReadAndHeldAgainstDocuments) {
  const TestFolder folder;
  const std::vector<ListedWindow> list =
      ReadWindowList(folder.Write("list.csv", kHeader + "0,5,388,2437,2559\r\n1,2,0,2049,2049\n"));
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].at, (DocumentWindow{5, 388}));
  EXPECT_EQ(list[0].fewest, 2437u);
  EXPECT_EQ(list[0].most, 2559u);
  const Place place("list.csv");
  RequireDocuments(list, 6, place);
  EXPECT_THAT(ErrorOf([&] { RequireDocuments(list, 5, place); }).what(),
              HasSubstr("list.csv: window 0: begins in document 5, but there are 5 documents"));
  const auto outside = [&](size_t of_5, size_t of_2) {
    return CountOutside(
        list, [&](size_t i) { return i == 5 ? of_5 : of_2; }, place);
  };
  EXPECT_EQ(outside(2437, 2049), 0u);
  EXPECT_EQ(outside(2559, 2049), 0u);
  EXPECT_EQ(outside(2436, 2049), 1u);
  EXPECT_EQ(outside(2560, 2048), 2u);
  EXPECT_THAT(
      ErrorOf([&] { outside(388, 2049); }).what(),
      HasSubstr("window 0: begins at token 388 of document 5, which has 388 tokens, expected 2437 to 2559"));
}

TEST(WindowList, RefusesWhatIsNone) {
  const TestFolder folder;
  const auto refusal = [&](const std::string& content) {
    const std::string path = folder.Write("list.csv", content);
    const Error error = ErrorOf([&] { ReadWindowList(path); });
    EXPECT_EQ(error.kind(), ErrorKind::kContent);
    EXPECT_THAT(error.what(), HasSubstr("list.csv"));
    return std::string(error.what());
  };
  EXPECT_THAT(refusal(""), HasSubstr("holds no windows"));
  EXPECT_THAT(refusal(kHeader), HasSubstr("holds no windows"));
  EXPECT_THAT(refusal("0,5,388,2437,2559\n"), HasSubstr("line 1: expected the header window,doc_index"));
  EXPECT_THAT(refusal(kHeader + "0,5,388,2437\n"), HasSubstr("line 2"));
  EXPECT_THAT(refusal(kHeader + "1,5,388,2437,2559\n"), HasSubstr("line 2: is window 1, expected window 0"));
  EXPECT_THAT(refusal(kHeader + "0,5,-1,2437,2559\n"),
              HasSubstr("line 2: token_offset: is '-1', expected a whole"));
  EXPECT_THAT(refusal(kHeader + "0,5,1e3,2437,2559\n"), HasSubstr("token_offset: is '1e3'"));
  EXPECT_THAT(refusal(kHeader + "0,99999999999999999999,1,2,3\n"), HasSubstr("doc_index: is '9999"));
  EXPECT_THAT(refusal(kHeader + "0,5,388,2559,2437\n"),
              HasSubstr("line 2: token 388 of a document of 2559 to 2437"));
  EXPECT_THAT(refusal(kHeader + "0,5,2437,2437,2559\n"), HasSubstr("expected offset < minimum"));
}

}  // namespace
}  // namespace lowbit
