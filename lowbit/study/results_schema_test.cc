// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/results_schema.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include <filesystem>
#include <functional>
#include <thread>

#include "lowbit/base/files.h"
#include "lowbit/study/results_db_testing.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::IsEmpty;
using testing::SizeIs;
using enum ResultsDb::Mode;

using ResultsSchema = ResultsDbTest;

TEST_F(ResultsSchema, WhatIsNotOurDatabaseIsRefusedWithItsPath) {
  const std::string newer = "PRAGMA user_version = 5", none = "PRAGMA user_version = 0";
  struct Case {
    std::string name;
    ErrorKind kind;
    std::string text;
    std::function<void(const std::string&)> spoil;
  };
  const auto sql = [](std::string text) { return [text](const std::string& path) { Sql(path, text); }; };
  const auto content = [](std::string text) {
    return [text](const std::string& path) { WriteFileAtomic(path, text); };
  };
  for (const Case& c : std::vector<Case>{
           {"another application", ErrorKind::kContent, "another application",
            sql("PRAGMA application_id = 252006674")},
           {"no application", ErrorKind::kContent, "another application", sql("PRAGMA application_id = 0")},
           {"newer schema", ErrorKind::kConflict, "newer lowbit (schema 5)", sql(newer)},
           {"no schema version", ErrorKind::kContent, "schema version 0", sql(none)},
           {"column added", ErrorKind::kContent, "table 'cells' has other columns",
            sql("ALTER TABLE cells ADD COLUMN x TEXT")},
           {"table missing", ErrorKind::kContent, "table 'metrics' is missing", sql("DROP TABLE metrics")},
           {"view in its place", ErrorKind::kContent, "table 'metrics' is missing",
            sql("DROP TABLE metrics; CREATE VIEW metrics AS SELECT 1")},
           {"zero bytes", ErrorKind::kContent, "has 0 bytes", content("")},
           {"one byte", ErrorKind::kContent, "has 1 bytes", content("S")},
           {"a text", ErrorKind::kContent, "not an SQLite database", content(std::string(5000, 'x'))},
           {"zeros", ErrorKind::kContent, "not an SQLite database", content(std::string(8192, '\0'))},
           {"only the magic", ErrorKind::kContent, "has 16 bytes",
            content(std::string("SQLite format 3\0", 16))},
           {"infinite value", ErrorKind::kContent, "perplexity is inf",
            sql("UPDATE metrics SET value = 9e999")},
           {"metrics gone", ErrorKind::kContent, "metrics belong to a done cell", sql("DELETE FROM metrics")},
           {"storage gone", ErrorKind::kContent, "what the model takes",
            sql("UPDATE cells SET model_bytes = NULL")},
           {"bits out of range", ErrorKind::kContent, "CHECK constraint failed in cells",
            sql("PRAGMA ignore_check_constraints = 1; UPDATE cells SET weight_bits = 99")},
           {"huge text", ErrorKind::kContent, "",
            sql("UPDATE cells SET notes = printf('%.*c', 40000000, 'x')")},
           {"folder", ErrorKind::kConflict, "is a folder",
            [](const std::string& path) { fs::remove(path), fs::create_directory(path); }},
           {"pipe", ErrorKind::kMissing, "not a regular file",
            [](const std::string& path) { fs::remove(path), mkfifo(path.c_str(), 0600); }},
           {"missing", ErrorKind::kMissing, "cannot open",
            [](const std::string& path) { fs::remove(path); }}}) {
    for (const ResultsDb::Mode mode : {kRead, kWrite}) {
      if (c.name == "missing" && mode == kWrite) continue;  // it is made then
      SCOPED_TRACE(c.name + (mode == kRead ? ", reading" : ", writing"));
      fs::remove_all(path_);
      MakeDatabase({FullRow()});
      c.spoil(path_);
      ExpectError(c.kind, path_, c.text, [&] { ResultsDb::Open(path_, mode).All(); });
    }
  }
}

// testdata/results-v1.db: what lowbit wrote before there was shared time: a done cell and a failed one.
TEST_F(ResultsSchema, AFileOfTheFirstSchemaIsReadAndUpgradedWhereItIsWritten) {
  fs::copy_file(std::string(LOWBIT_TESTDATA) + "/results-v1.db", path_);
  const std::string before = ReadFile(path_);
  const std::vector<CellRow> rows = ResultsDb::Open(path_, kRead).All();
  EXPECT_EQ(ReadFile(path_), before) << "a reader changes nothing";
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[0].recipe, "rtn-w8-channel");
  EXPECT_EQ(rows[0].metrics.size(), 5u);
  EXPECT_TRUE(rows[0].provenance.quantize_seconds.has_value());
  EXPECT_FALSE(rows[0].provenance.shared_seconds.has_value());
  EXPECT_EQ(rows[1].status, CellStatus::kFailed);
  Sql(path_, "CREATE VIEW mine AS SELECT recipe FROM cells");

  ResultsDb writer = ResultsDb::Open(path_, kWrite);
  EXPECT_EQ(writer.All(), rows);
  writer.Put(FullRow());
  std::vector<CellRow> more = rows;
  more.push_back(FullRow());
  EXPECT_EQ(ResultsDb::Open(path_, kRead).All(), more);
  EXPECT_EQ(ResultsDb::Open(path_, kWrite).All(), more);
  EXPECT_EQ(Sql(path_, "PRAGMA user_version"), "4");
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM table_view"), "8");
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM mine"), "3");
  EXPECT_EQ(Sql(path_, "PRAGMA foreign_key_check"), "");
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM sqlite_schema WHERE sql LIKE '%cells_1%'"), "0");
}

// testdata/results-v2.db: before answers and windows were kept.
TEST_F(ResultsSchema, AFileOfTheSecondSchemaIsReadAndUpgradedWhereItIsWritten) {
  fs::copy_file(std::string(LOWBIT_TESTDATA) + "/results-v2.db", path_);
  const std::vector<CellRow> rows = ResultsDb::Open(path_, kRead).All();
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[1].recipe, "gptq-w4-g64");
  EXPECT_THAT(rows[1].layer_errors, SizeIs(32));
  EXPECT_TRUE(rows[1].provenance.quantize_seconds.has_value());
  EXPECT_EQ(rows[1].outcomes, Outcomes());

  ResultsDb writer = ResultsDb::Open(path_, kWrite);
  EXPECT_EQ(writer.All(), rows);
  writer.Put(FullRow());
  EXPECT_EQ(writer.All().back(), FullRow());
  EXPECT_EQ(Sql(path_, "PRAGMA user_version"), "4");
}

// testdata/results-v3.db: before it was kept what rounded linears read.
TEST_F(ResultsSchema, AFileOfTheThirdSchemaIsReadAndUpgradedWhereItIsWritten) {
  fs::copy_file(std::string(LOWBIT_TESTDATA) + "/results-v3.db", path_);
  const std::vector<CellRow> rows = ResultsDb::Open(path_, kRead).All();
  ASSERT_THAT(rows, SizeIs(2));
  EXPECT_EQ(rows[1].recipe, "smoothquant-w4a4");
  EXPECT_THAT(rows[1].layer_errors, SizeIs(4 * 15));
  EXPECT_THAT(rows[1].outcomes.windows, SizeIs(2));
  EXPECT_THAT(rows[1].inputs, IsEmpty());

  ResultsDb writer = ResultsDb::Open(path_, kWrite);
  EXPECT_EQ(writer.All(), rows);
  writer.Put(FullRow());
  EXPECT_EQ(writer.All().back(), FullRow());
  EXPECT_EQ(Sql(path_, "PRAGMA user_version"), "4");
}

TEST_F(ResultsSchema, AFailedCellOfTheFirstSchemaIsReplaced) {
  fs::copy_file(std::string(LOWBIT_TESTDATA) + "/results-v1.db", path_);
  ResultsDb writer = ResultsDb::Open(path_, kWrite);
  CellRow again = writer.All()[1];
  again.error = "something else";
  writer.Put(again);
  EXPECT_THAT(writer.All(), SizeIs(2));
  EXPECT_EQ(writer.Find(again.key), again);
}

TEST_F(ResultsSchema, WritersThatUpgradeTogetherLoseNothing) {
  fs::copy_file(std::string(LOWBIT_TESTDATA) + "/results-v1.db", path_);
  std::vector<std::thread> writers;
  for (int w = 0; w < 4; ++w) {
    writers.emplace_back([this, w] {
      ResultsDb::Open(path_, kWrite, std::chrono::seconds(60)).Put(FullRow(fmt::format("{}", w)));
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_THAT(ResultsDb::Open(path_, kRead).All(), SizeIs(6));
}

TEST_F(ResultsSchema, MissingFolderIsNamed) {
  const std::string path = folder_ + "/nowhere/results.db";
  ExpectError(ErrorKind::kResource, path, "cannot create", [&] { ResultsDb::Open(path, kWrite); });
  ExpectError(ErrorKind::kMissing, path, "No such file", [&] { ResultsDb::Open(path, kRead); });
  ExpectError(ErrorKind::kMissing, "", "cannot open", [&] { ResultsDb::Open("", kWrite); });
}

TEST_F(ResultsSchema, MemoryIsAFileNameLikeAnyOther) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  ResultsDb::Open(":memory:", kWrite).Put(FullRow());
  EXPECT_THAT(ResultsDb::Open(":memory:", kRead).All(), SizeIs(1));
  fs::current_path(before);
  EXPECT_TRUE(fs::exists(folder_ + "/:memory:"));
}

TEST_F(ResultsSchema, EveryTruncationIsRefused) {
  MakeDatabase({FullRow(), FailedRow("key-2")});
  const std::string whole = ReadFile(path_);
  ASSERT_GE(whole.size(), 16384u);
  for (size_t size = 1; size < whole.size(); size += size < 128 ? 1 : 509) {
    WriteFileAtomic(path_, whole.substr(0, size));
    EXPECT_THROW(ResultsDb::Open(path_, kRead).All(), Error) << size << " bytes of " << whole.size();
  }
}

TEST_F(ResultsSchema, NoDamagedByteDoesMoreThanThrowOrChangeAText) {
  MakeDatabase({FullRow(), FailedRow("key-2")});
  const std::string whole = ReadFile(path_);
  size_t refused = 0, tried = 0;
  for (size_t at = 0; at < whole.size(); at += at < 128 ? 1 : 37) {
    std::string damaged = whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0xFF);
    WriteFileAtomic(path_, damaged);
    ++tried;
    try {
      EXPECT_THAT(ResultsDb::Open(path_, kRead).All(), SizeIs(2)) << "byte " << at;
    } catch (const Error& error) {
      EXPECT_NE(error.kind(), ErrorKind::kInternal) << "byte " << at << ": " << error.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, tried / 20) << "of " << tried;
}

TEST_F(ResultsSchema, TriggersOfTheFileDoNotRun) {
  MakeDatabase({FullRow("a")});
  Sql(path_, "CREATE TRIGGER t AFTER INSERT ON cells BEGIN DELETE FROM cells WHERE key = 'a'; END");
  ResultsDb db = ResultsDb::Open(path_, kWrite);
  db.Put(FullRow("b"));
  EXPECT_THAT(db.All(), SizeIs(2));
}

}  // namespace
}  // namespace lowbit
