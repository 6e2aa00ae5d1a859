// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/csv_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/test_folder.h"
#include "lowbit/text/archive_testing.h"

namespace lowbit {
namespace {

using Record = std::pair<size_t, std::vector<std::string>>;

std::vector<Record> Read(std::string_view text, size_t columns, CsvLimits limits = {}) {
  std::vector<Record> records;
  ForEachCsvRecordIn(
      text, Place("t.csv"), columns,
      [&](size_t line, const std::vector<std::string>& fields) { records.emplace_back(line, fields); },
      limits);
  return records;
}

TEST(Csv, ReadsBothLineEndsQuotesAndEmptyFields) {
  const std::vector<Record> want = {{1, {"a", " b ", ""}},
                                    {2, {"x,y", "say \"hi\"", "two\nlines"}},
                                    {4, {"", "", "é"}},
                                    {6, {"cr\r\nlf", "\"", "end"}}};
  EXPECT_EQ(Read("a, b ,\r\n\"x,y\",\"say \"\"hi\"\"\",\"two\nlines\"\n,,é\n\n\"cr\r\nlf\",\"\"\"\",end", 3),
            want);
  EXPECT_TRUE(Read("", 3).empty());
  EXPECT_TRUE(Read("\n\r\n", 3).empty());
  EXPECT_EQ(Read("one\ntwo\n", 1).size(), 2u);
  EXPECT_EQ(Read("\"\"\n", 1), (std::vector<Record>{{1, {""}}}));
}

struct BadCsv {
  const char* text;
  const char* message;
};

class BadCsvTest : public testing::TestWithParam<BadCsv> {};

TEST_P(BadCsvTest, NamesFileAndLine) {
  try {
    Read(GetParam().text, 2);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    EXPECT_THAT(e.what(), testing::StartsWith(std::string("t.csv: ") + GetParam().message));
  }
}

INSTANTIATE_TEST_SUITE_P(
    Csv, BadCsvTest,
    testing::Values(BadCsv{"a,b\n\"c\nd,e\n", "line 2: a quote is opened and never closed"},
                    BadCsv{"a,b\n\nc\n", "line 3: has 1 fields, expected 2"},
                    BadCsv{"a,\"b\nb\"\nc,d,e\n", "line 3: has more fields, expected 2"},
                    BadCsv{"a;b\n", "line 1: has 1 fields"},
                    BadCsv{"a,b\"c\n", "line 1: a quote inside a field without quotes"},
                    BadCsv{"a, \"b\"\n", "line 1: a quote inside a field without quotes"},
                    BadCsv{"a,\"b\"c\n", "line 1: 'c' behind a closing quote"},
                    BadCsv{"a,b\rc,d\r", "line 1: a lone CR"}, BadCsv{"a,\"b\"\rc", "line 1: a lone CR"}));

TEST(Csv, RefusesNulBytesAndRecordsOverTheLimit) {
  EXPECT_THROW(Read(std::string_view("a\0,b\n", 5), 2), Error);
  EXPECT_THROW(Read(std::string_view("\"a\0\",b\n", 7), 2), Error);
  const std::string fits = std::string(9, 'x') + ",y\n", longer = "\"" + std::string(20, 'x') + "\",y\n";
  EXPECT_EQ(Read(fits, 2, {10}).size(), 1u);
  EXPECT_THROW(Read(longer, 2, {10}), Error);
  EXPECT_THROW(Read(std::string(11, 'x') + ",y\n", 2, {10}), Error);
}

TEST(Csv, ReadsArchivesAndRefusesWhatIsNotUtf8) {
  const TestFolder folder;
  const auto count = [](const std::string& path) {
    size_t records = 0;
    ForEachCsvRecord(path, 2, [&](size_t, const std::vector<std::string>&) { ++records; });
    return records;
  };
  const std::string text =
      "\xEF\xBB\xBF"
      "a,b\nc,d\n";
  EXPECT_EQ(count(folder.Write("t.csv", text)), 2u);
  const std::string archive = text_testing::Gzip(text);
  EXPECT_EQ(count(folder.Write("t.csv.gz", archive)), 2u);
  EXPECT_EQ(count(folder.Write("t.csv.zst", text_testing::Zstd(text))), 2u);
  EXPECT_THROW(count(folder.Write("cut.csv.gz", archive.substr(0, archive.size() - 4))), Error);
  EXPECT_THROW(count(folder.Write("latin1.csv", "caf\xE9,b\n")), Error);
}

}  // namespace
}  // namespace lowbit
