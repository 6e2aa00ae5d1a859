// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/results_db.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <thread>

#include "lowbit/base/files.h"
#include "lowbit/study/results_db_testing.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using testing::IsEmpty;
using testing::SizeIs;
using enum ResultsDb::Mode;

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
           {"largest input of layer 0 mlp.down_proj", [](CellRow&r, double x) { r.inputs[0].largest = x; }},
           {"peak input of layer 1 mlp.down_proj", [](CellRow&r, double x) { r.inputs[1].peak = x; }},
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
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM inputs"), "2");
  Sql(path_, "PRAGMA foreign_keys = ON; DELETE FROM cells WHERE key = 'a'");
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM layer_errors"), "0");
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM inputs"), "0");
  CellRow twice = FullRow("c");
  twice.layer_errors.push_back(twice.layer_errors[0]);
  ResultsDb db = ResultsDb::Open(path_, kWrite);
  ExpectError(ErrorKind::kNumeric, path_, "parts of their own", [&] { db.Put(twice); });
  twice.layer_errors.pop_back();
  twice.inputs.push_back(twice.inputs[0]);
  ExpectError(ErrorKind::kNumeric, path_, "linears of their own", [&] { db.Put(twice); });
}

TEST_F(ResultsDbTest, AnswersAndWindowsLeaveWithTheirCell) {
  CellRow failed = FailedRow("k");
  failed.outcomes.windows = {{1, 1}};
  MakeDatabase({failed, FailedRow("k")});
  EXPECT_EQ(Sql(path_, "SELECT count(*) FROM windows"), "0");
}

TEST_F(ResultsDbTest, OutcomesThatCannotBeAreRefused) {
  const auto refused = [this](const std::string& text, const std::function<void(Outcomes&)>& change) {
    CellRow row = FullRow();
    change(row.outcomes);
    ExpectError(ErrorKind::kNumeric, path_, text, [&] { MakeDatabase({row}); });
  };
  refused("answer 1 has 2 choices, the right one is 2", [](Outcomes& o) { o.answers[1].gold = 2; });
  refused("a log-likelihood of answer 0 is nan", [](Outcomes& o) { o.answers[0].log_likelihoods[1] = NAN; });
  refused("the loss of window 1 is inf", [](Outcomes& o) { o.windows[1].loss = INFINITY; });
  refused("the weight of window 0 is 0", [](Outcomes& o) { o.windows[0].weight = 0; });
}

TEST_F(ResultsDbTest, LogLikelihoodsOfAnotherHandAreChecked) {
  for (const std::string bad : {"", "[1", "{}", "[-1]", "[-1, \"a\"]", "[-1, null]"}) {
    fs::remove(path_);
    MakeDatabase({FullRow()});
    Sql(path_, fmt::format("UPDATE answers SET log_likelihoods = '{}' WHERE item = 1", bad));
    ExpectError(ErrorKind::kContent, path_, "item 1", [&] { ResultsDb::Open(path_, kRead).All(); });
  }
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
