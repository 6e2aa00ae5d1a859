// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "lowbit/base/files.h"
#include "lowbit/cli/commands.h"
#include "lowbit/report/fixture.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::StartsWith;

class ReportCommand : public testing::Test {
 protected:
  ReportCommand() {
    std::string name = testing::TempDir() + "report_command_XXXXXX";
    folder_ = mkdtemp(name.data());
    database_ = folder_ + "/results.db";
    ResultsDb db = ResultsDb::Open(database_, ResultsDb::Mode::kWrite);
    for (const CellRow& row : fixture::OneModel()) db.Put(row);
  }
  ~ReportCommand() override { fs::remove_all(folder_); }

  // Runs `lowbit report ARGUMENTS…`; in `arguments` the text DIR stands for the test's folder.
  void Run(std::vector<std::string> arguments) {
    CLI::App app;
    AddReportCommand(app);
    for (std::string& a : arguments) {
      if (const size_t at = a.find("DIR"); at != std::string::npos) a.replace(at, 3, folder_);
    }
    arguments.insert(arguments.begin(), "report");
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes vectors
    app.parse(arguments);
  }

  void ExpectError(ErrorKind kind, const std::string& text, const std::vector<std::string>& arguments) {
    try {
      Run(arguments);
      ADD_FAILURE() << "no error, expected one with '" << text << "'";
    } catch (const Error& error) {
      EXPECT_EQ(Name(error.kind()), Name(kind)) << error.what();
      EXPECT_THAT(error.what(), HasSubstr(text));
    }
  }

  std::string folder_, database_;
};

TEST_F(ReportCommand, TheExtensionChoosesTheFormat) {
  const std::pair<const char*, const char*> formats[] = {{"html", "<!doctype html>"},
                                                         {"csv", "model,recipe,"},
                                                         {"md", "# Qwen3-0.6B\n"},
                                                         {"tex", "% Qwen3-0.6B\n"}};
  for (const auto& [extension, beginning] : formats) {
    Run({"DIR/results.db", "-o", std::string("DIR/out.") + extension});
    EXPECT_THAT(ReadFile(folder_ + "/out." + extension), StartsWith(beginning));
  }
}

TEST_F(ReportCommand, FormatAndTitleCanBeSaid) {
  Run({"DIR/results.db", "-o", "DIR/plain", "--format", "md", "--title", "What RTN costs"});
  EXPECT_THAT(ReadFile(folder_ + "/plain"), StartsWith("# What RTN costs\n"));
}

TEST_F(ReportCommand, StandardOutputTakesEveryFormatAndMarkdownByItself) {
  testing::internal::CaptureStdout();
  Run({"DIR/results.db", "-o", "-"});
  EXPECT_THAT(testing::internal::GetCapturedStdout(), StartsWith("# Qwen3-0.6B\n"));
  testing::internal::CaptureStdout();
  Run({"DIR/results.db", "-o", "-", "--format", "csv"});
  EXPECT_THAT(testing::internal::GetCapturedStdout(), StartsWith("model,recipe,"));
}

TEST_F(ReportCommand, AnUnknownFormatIsAUsageErrorAndWritesNothing) {
  ExpectError(ErrorKind::kUsage, "no format is called 'pdf'", {"DIR/results.db", "-o", "DIR/out.pdf"});
  ExpectError(ErrorKind::kUsage, "no format is called ''", {"DIR/results.db", "-o", "DIR/out"});
  ExpectError(ErrorKind::kUsage, "no format is called 'HTM'",
              {"DIR/results.db", "-o", "-", "--format", "HTM"});
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(ReportCommand, TheDatabaseIsNeverOverwritten) {
  const std::string before = ReadFile(database_);
  ExpectError(ErrorKind::kUsage, "is the results database",
              {"DIR/results.db", "-o", "DIR/results.db", "-f", "csv"});
  fs::create_symlink(database_, folder_ + "/link.csv");
  ExpectError(ErrorKind::kUsage, "is the results database", {"DIR/results.db", "-o", "DIR/link.csv"});
  EXPECT_EQ(ReadFile(database_), before);
}

TEST_F(ReportCommand, WhatCannotBeReadOrWrittenIsNamed) {
  ExpectError(ErrorKind::kMissing, "other.db: cannot open", {"DIR/other.db", "-o", "DIR/out.html"});
  ExpectError(ErrorKind::kResource, "nowhere/out.html: cannot create",
              {"DIR/results.db", "-o", "DIR/nowhere/out.html"});
  WriteFileAtomic(database_, std::string(4096, 'x'));
  ExpectError(ErrorKind::kContent, "results.db: is not an SQLite database",
              {"DIR/results.db", "-o", "DIR/out.html"});
  EXPECT_FALSE(fs::exists(folder_ + "/out.html"));
}

TEST_F(ReportCommand, AStudyWithoutResultsIsNamed) {
  fs::remove(database_);
  ResultsDb::Open(database_, ResultsDb::Mode::kWrite);
  ExpectError(ErrorKind::kContent, "results.db: has no results yet",
              {"DIR/results.db", "-o", "DIR/out.html"});
}

}  // namespace
}  // namespace lowbit
