// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/results_db.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <thread>

#include "lowbit/base/files.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using enum ResultsDb::Mode;

// Runs SQL behind lowbit's back, as another program would. Returns the first column of the first row.
std::string Sql(const std::string& path, const std::string& sql) {
  sqlite3* db = nullptr;
  EXPECT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  std::string result;
  char* message = nullptr;
  const auto take_first = [](void* out, int columns, char** values, char**) {
    auto& text = *static_cast<std::string*>(out);
    if (text.empty() && columns > 0 && values[0] != nullptr) text = values[0];
    return 0;
  };
  sqlite3_exec(db, sql.c_str(), take_first, &result, &message);
  EXPECT_EQ(message, nullptr) << message;
  sqlite3_free(message);
  sqlite3_close(db);
  return result;
}

// A row in which no two fields are equal, so that swapped columns show.
CellRow FullRow(const std::string& key = "key-1") {
  CellRow row;
  row.key = key;
  row.model = "Qwen3-0.6B";
  row.model_folder = "models/qwen3";
  row.recipe = "rtn-w4-g128-sym";
  row.method = "rtn";
  row.weight_bits = 4;
  row.group_size = 128;
  row.symmetric = true;
  row.task = "wikitext2";
  row.protocol = "wikitext2: raw test, windows of 512";
  row.notes = "layer 3: one dead column\nlayer 5: another";
  row.metrics = {{"perplexity", 86.031234567890123, 0.25, 51100, false},
                 {"acc", 0.5, std::nullopt, 70, true}};
  row.layer_errors = {{0, "layer", 0.015625}, {0, "mlp.up_proj", 0}, {1, "layer", 0.25}};
  row.storage = CellStorage{4.25, 5.5, 350'000'000};
  row.provenance = {.weights_hash = "wh",
                    .tokenizer_hash = "th",
                    .text_hash = "xh",
                    .recipe_hash = "rh",
                    .code_version = "0.1.0+abc",
                    .compute_type = "f32",
                    .isa = "AVX2",
                    .cpu = "Some CPU",
                    .cores = 8,
                    .threads = 7,
                    .quantize_seconds = 1.5,
                    .shared_seconds = 2.75,
                    .shared_by = 3,
                    .eval_seconds = 20.25,
                    .peak_bytes = uint64_t{5} << 30,
                    .started = "2026-01-31T12:34:56Z"};
  return row;
}

CellRow FailedRow(const std::string& key) {
  CellRow row;
  row.key = key;
  row.model = "m";
  row.recipe = "gptq-w2-channel";
  row.method = "gptq";
  row.weight_bits = 2;
  row.task = "wikitext2";
  row.status = CellStatus::kFailed;
  row.error_kind = "numeric";
  row.error = "layer 0: pivot 17 is not positive";
  return row;
}

class ResultsDbTest : public testing::Test {
 protected:
  ResultsDbTest() {
    std::string name = testing::TempDir() + "results_db_XXXXXX";
    folder_ = mkdtemp(name.data());
    path_ = folder_ + "/results.db";
  }
  ~ResultsDbTest() override { fs::remove_all(folder_); }

  std::string MakeDatabase(const std::vector<CellRow>& rows) const {
    ResultsDb db = ResultsDb::Open(path_, kWrite);
    for (const CellRow& row : rows) db.Put(row);
    return path_;
  }

  std::string folder_, path_;
};

// Runs `action`, expects an Error of `kind` whose text names `path` and holds `text`.
template <class Action>
void ExpectError(ErrorKind kind, const std::string& path, const std::string& text, Action action) {
  try {
    action();
    ADD_FAILURE() << "no error, expected one with '" << text << "'";
  } catch (const Error& error) {
    EXPECT_EQ(Name(error.kind()), Name(kind)) << error.what();
    EXPECT_THAT(error.what(), AllOf(HasSubstr(path), HasSubstr(text)));
  }
}

TEST_F(ResultsDbTest, EveryFieldSurvivesTheRoundTrip) {
  MakeDatabase({FullRow(), FailedRow("key-2")});
  const ResultsDb db = ResultsDb::Open(path_, kRead);
  EXPECT_THAT(db.All(), testing::ElementsAre(FullRow(), FailedRow("key-2")));
  EXPECT_EQ(db.Find("key-2"), FailedRow("key-2"));
  EXPECT_EQ(db.Find("key-3"), std::nullopt);
}

TEST_F(ResultsDbTest, NumbersAreExactToTheLastBit) {
  CellRow row = FullRow();
  row.metrics = {{"a", std::nextafter(1.0, 2.0), 5e-324, 0, false},
                 {"b", -std::numeric_limits<double>::max(), 0.0, std::numeric_limits<int64_t>::max(), true}};
  row.storage->model_bytes = std::numeric_limits<int64_t>::max();
  MakeDatabase({row});
  EXPECT_EQ(ResultsDb::Open(path_, kRead).All().at(0), row);
}

TEST_F(ResultsDbTest, TextIsDataNeverSql) {
  CellRow row = FullRow("'); DROP TABLE cells; --");
  row.model = std::string("a\0b \xFF \" ' ; %s {}", 18);
  row.protocol = "</script>\n\r\t'||(SELECT 1)||'";
  MakeDatabase({row});
  const ResultsDb db = ResultsDb::Open(path_, kRead);
  EXPECT_EQ(db.Find(row.key), row);
}

TEST_F(ResultsDbTest, RerunReplacesAFailedCellAndKeepsADoneOne) {
  CellRow repaired = FullRow("key");
  MakeDatabase({FailedRow("key"), FullRow("other")});
  ResultsDb db = ResultsDb::Open(path_, kWrite);
  db.Put(repaired);
  EXPECT_THAT(db.All(), testing::ElementsAre(FullRow("other"), repaired)) << "the newest row comes last";
  ExpectError(ErrorKind::kConflict, path_, "already done", [&] { db.Put(FailedRow("key")); });
  ExpectError(ErrorKind::kConflict, path_, "already done", [&] { db.Put(FullRow("key")); });
  EXPECT_EQ(db.Find("key"), repaired);
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM metrics"), "4") << "metrics of replaced rows are gone";
}

TEST_F(ResultsDbTest, NumbersThatAreNotFiniteAreRefused) {
  ResultsDb db = ResultsDb::Open(path_, kWrite);
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double inf = std::numeric_limits<double>::infinity();
  for (const auto& [text, change] : std::vector<std::pair<std::string, void (*)(CellRow&, double)>>{
           {"perplexity is", [](CellRow&r, double x) { r.metrics[0].value = x; }},
           {"standard error of acc", [](CellRow&r, double x) { r.metrics[1].standard_error = x; }},
           {"output error of layer 1 layer", [](CellRow&r, double x) { r.layer_errors[2].relative = x; }},
           {"bits per weight", [](CellRow&r, double x) { r.storage->model_bpw = x; }},
           {"time is", [](CellRow&r, double x) { r.provenance.eval_seconds = x; }}}) {
    for (const double value : {nan, inf, -inf}) {
      CellRow row = FullRow();
      change(row, value);
      ExpectError(ErrorKind::kNumeric, path_, text, [&] { db.Put(row); });
    }
  }
  EXPECT_THAT(db.All(), IsEmpty());
}

TEST_F(ResultsDbTest, RowsThatContradictThemselvesAreRefused) {
  ResultsDb db = ResultsDb::Open(path_, kWrite);
  for (void (*change)(CellRow&) : std::vector<void (*)(CellRow&)>{
           [](CellRow& r) { r.key.clear(); }, [](CellRow& r) { r.task.clear(); },
           [](CellRow& r) { r.weight_bits = 0; }, [](CellRow& r) { r.weight_bits = 33; },
           [](CellRow& r) { r.metrics.clear(); }, [](CellRow& r) { r.metrics[1].name = r.metrics[0].name; },
           [](CellRow& r) { r.metrics[1].n = uint64_t{1} << 63; }, [](CellRow& r) { r.storage.reset(); },
           [](CellRow& r) { r.storage->model_bytes = 0; }, [](CellRow& r) { r.error = "but it is done"; },
           [](CellRow& r) { r.status = CellStatus::kFailed; },
           [](CellRow& r) { r.group_size = ~uint64_t{0}; }}) {
    CellRow row = FullRow();
    change(row);
    ExpectError(ErrorKind::kInternal, path_, "cell '", [&] { db.Put(row); });
  }
  EXPECT_THAT(db.All(), IsEmpty());
}

TEST_F(ResultsDbTest, ACellThatCannotBeWrittenLeavesNoTrace) {
  MakeDatabase({FailedRow("key")});
  // The second metric breaks a rule of the file that Put() does not know.
  Sql(path_, "CREATE UNIQUE INDEX other ON metrics (cell_id)");
  ResultsDb db = ResultsDb::Open(path_, kWrite);
  EXPECT_THROW(db.Put(FullRow("key")), Error);
  EXPECT_THAT(db.All(), testing::ElementsAre(FailedRow("key")));
}

TEST_F(ResultsDbTest, OutputErrorsLeaveWithTheirCell) {
  MakeDatabase({FullRow("a"), FailedRow("b")});
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM layer_errors"), "3");
  Sql(path_, "PRAGMA foreign_keys = ON; DELETE FROM cells WHERE key = 'a'");
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM layer_errors"), "0");
  CellRow twice = FullRow("c");
  twice.layer_errors.push_back(twice.layer_errors[0]);
  ResultsDb db = ResultsDb::Open(path_, kWrite);
  ExpectError(ErrorKind::kNumeric, path_, "parts of their own", [&] { db.Put(twice); });
}

TEST_F(ResultsDbTest, OneFileIsAllThereIs) {
  MakeDatabase({FullRow()});
  EXPECT_THAT(std::vector<fs::path>(fs::directory_iterator(folder_), {}),
              testing::ElementsAre(fs::path(path_)));
}

TEST_F(ResultsDbTest, ViewForPeopleListsFullPrecisionFirst) {
  CellRow full = FullRow("full");
  full.method = full.recipe = "full";
  full.weight_bits = 16;
  MakeDatabase({FullRow(), full});
  EXPECT_EQ(Sql(path_, "SELECT recipe || ' ' || grouping || metric || bpw FROM table_view"),
            "full perplexity4.25");
}

TEST_F(ResultsDbTest, WhatIsNotOurDatabaseIsRefusedWithItsPath) {
  const std::string newer = "PRAGMA user_version = 3", none = "PRAGMA user_version = 0";
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
           {"newer schema", ErrorKind::kConflict, "newer lowbit (schema 3)", sql(newer)},
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
TEST_F(ResultsDbTest, AFileOfTheFirstSchemaIsReadAndUpgradedWhereItIsWritten) {
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
  EXPECT_EQ(Sql(path_, "PRAGMA user_version"), "2");
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM table_view"), "8");
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM mine"), "3");
  EXPECT_EQ(Sql(path_, "PRAGMA foreign_key_check"), "");
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM sqlite_schema WHERE sql LIKE '%cells_1%'"), "0");
}

TEST_F(ResultsDbTest, AFailedCellOfTheFirstSchemaIsReplaced) {
  fs::copy_file(std::string(LOWBIT_TESTDATA) + "/results-v1.db", path_);
  ResultsDb writer = ResultsDb::Open(path_, kWrite);
  CellRow again = writer.All()[1];
  again.error = "something else";
  writer.Put(again);
  EXPECT_THAT(writer.All(), SizeIs(2));
  EXPECT_EQ(writer.Find(again.key), again);
}

TEST_F(ResultsDbTest, WritersThatUpgradeTogetherLoseNothing) {
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

TEST_F(ResultsDbTest, MissingFolderIsNamed) {
  const std::string path = folder_ + "/nowhere/results.db";
  ExpectError(ErrorKind::kResource, path, "cannot create", [&] { ResultsDb::Open(path, kWrite); });
  ExpectError(ErrorKind::kMissing, path, "No such file", [&] { ResultsDb::Open(path, kRead); });
  ExpectError(ErrorKind::kMissing, "", "cannot open", [&] { ResultsDb::Open("", kWrite); });
}

TEST_F(ResultsDbTest, MemoryIsAFileNameLikeAnyOther) {
  const fs::path before = fs::current_path();
  fs::current_path(folder_);
  ResultsDb::Open(":memory:", kWrite).Put(FullRow());
  EXPECT_THAT(ResultsDb::Open(":memory:", kRead).All(), SizeIs(1));
  fs::current_path(before);
  EXPECT_TRUE(fs::exists(folder_ + "/:memory:"));
}

TEST_F(ResultsDbTest, EveryTruncationIsRefused) {
  MakeDatabase({FullRow(), FailedRow("key-2")});
  const std::string whole = ReadFile(path_);
  ASSERT_GE(whole.size(), 16384u);
  for (size_t size = 1; size < whole.size(); size += size < 128 ? 1 : 509) {
    WriteFileAtomic(path_, whole.substr(0, size));
    EXPECT_THROW(ResultsDb::Open(path_, kRead).All(), Error) << size << " bytes of " << whole.size();
  }
}

TEST_F(ResultsDbTest, NoDamagedByteDoesMoreThanThrowOrChangeAText) {
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

TEST_F(ResultsDbTest, TriggersOfTheFileDoNotRun) {
  MakeDatabase({FullRow("a")});
  Sql(path_, "CREATE TRIGGER t AFTER INSERT ON cells BEGIN DELETE FROM cells WHERE key = 'a'; END");
  ResultsDb db = ResultsDb::Open(path_, kWrite);
  db.Put(FullRow("b"));
  EXPECT_THAT(db.All(), SizeIs(2));
}

TEST_F(ResultsDbTest, AReaderSeesWhatAnOpenWriterHasPut) {
  ResultsDb writer = ResultsDb::Open(path_, kWrite);
  ResultsDb reader = ResultsDb::Open(path_, kRead);
  EXPECT_THAT(reader.All(), IsEmpty());
  writer.Put(FullRow());
  EXPECT_THAT(reader.All(), SizeIs(1));
  EXPECT_THROW(reader.Put(FullRow("other")), Error) << "a reader does not write";
}

TEST_F(ResultsDbTest, WritersThatStartTogetherLoseNothing) {
  constexpr int kWriters = 4, kRows = 12;
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([this, w] {
      ResultsDb db = ResultsDb::Open(path_, kWrite, std::chrono::seconds(60));
      for (int r = 0; r < kRows; ++r) db.Put(FullRow(fmt::format("{}-{}", w, r)));
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_THAT(ResultsDb::Open(path_, kRead).All(), SizeIs(kWriters * kRows));
}

TEST_F(ResultsDbTest, OfTwoWritersOfOneCellTheSecondIsTold) {
  ResultsDb first = ResultsDb::Open(path_, kWrite), second = ResultsDb::Open(path_, kWrite);
  first.Put(FullRow());
  ExpectError(ErrorKind::kConflict, path_, "already done", [&] { second.Put(FullRow()); });
}

TEST_F(ResultsDbTest, ALockThatDoesNotGoAwayIsAConflict) {
  MakeDatabase({FullRow()});
  ResultsDb writer = ResultsDb::Open(path_, kWrite, milliseconds(20));
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN EXCLUSIVE", nullptr, nullptr, nullptr), SQLITE_OK);
  ExpectError(ErrorKind::kConflict, path_, "locked", [&] { writer.Put(FullRow("b")); });
  ExpectError(ErrorKind::kConflict, path_, "locked",
              [&] { ResultsDb::Open(path_, kRead, milliseconds(20)); });
  sqlite3_close(other);
  writer.Put(FullRow("b"));
  EXPECT_THAT(writer.All(), SizeIs(2));
}

// A child puts rows until it is killed; what is there afterwards is whole rows 0, 1, … without a hole,
// and at least those whose Put() had returned.
TEST_F(ResultsDbTest, KillNineLosesNoRowThatWasPut) {
  for (const int delay_ms : {1, 3, 7, 15, 30, 60}) {
    fs::remove(path_);
    int acknowledged[2];
    ASSERT_EQ(pipe(acknowledged), 0);
    const pid_t child = fork();
    if (child == 0) {
      ResultsDb db = ResultsDb::Open(path_, kWrite);
      for (int i = 0;; ++i) {
        db.Put(FullRow(fmt::format("{}", i)));
        if (write(acknowledged[1], "x", 1) != 1) _exit(1);
      }
    }
    close(acknowledged[1]);
    std::this_thread::sleep_for(milliseconds(delay_ms));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    size_t put = 0;
    for (char c; read(acknowledged[0], &c, 1) == 1;) ++put;
    close(acknowledged[0]);

    const std::vector<CellRow> rows = ResultsDb::Open(path_, kWrite).All();
    EXPECT_GE(rows.size(), put);
    EXPECT_LE(rows.size(), put + 1);
    for (size_t i = 0; i < rows.size(); ++i) EXPECT_EQ(rows[i], FullRow(fmt::format("{}", i)));
  }
}

}  // namespace
}  // namespace lowbit
