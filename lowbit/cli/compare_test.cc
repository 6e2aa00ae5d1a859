// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/json.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/cli/commands.h"
#include "lowbit/report/fixture.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

class CompareCommand : public testing::Test {
 protected:
  // Of the fixture's first model two recipes with what they answered: the second loses 12 of 30 questions, but has the
  // smaller losses.
  CompareCommand() {
    ResultsDb db = ResultsDb::Open(folder_.File("results.db"), ResultsDb::Mode::kWrite);
    for (CellRow row : fixture::OneModel()) {
      if (row.status != CellStatus::kDone) continue;
      const bool full = row.recipe == "full";
      for (int i = 0; i < 30; ++i) {
        row.outcomes.answers.push_back(
            {i < 15 ? "law" : "physics", 1, {-2, -1}, full || i >= 12, std::nullopt});
        row.outcomes.windows.push_back({.loss = 3 + 0.1 * i - (full ? 0 : 0.05)});
      }
      db.Put(row);
    }
  }

  std::string Run(std::vector<std::string> arguments) {
    CLI::App app;
    AddCompareCommand(app);
    for (std::string& a : arguments) {
      if (const size_t at = a.find("DIR"); at != std::string::npos) a.replace(at, 3, folder_.path());
    }
    arguments.insert(arguments.begin(), "compare");
    std::reverse(arguments.begin(), arguments.end());  // as CLI11 takes vectors
    testing::internal::CaptureStdout();
    try {
      app.parse(arguments);
    } catch (const Error& error) {
      return testing::internal::GetCapturedStdout() + error.what();
    }
    return testing::internal::GetCapturedStdout();
  }

  const TestFolder folder_;
};

TEST_F(CompareCommand, SaysWhatChangedAndHowSurelyItDid) {
  const std::string recipe = fixture::OneModel().back().recipe;
  const Json json =
      ParseJson(Run({"full", recipe, "--results", "DIR/results.db", "--json"}), Place("stdout"));
  const Json& task = json.at("tasks").begin().value();
  EXPECT_EQ(task.at("metrics").at("acc").at("flips"), (Json{{"lost", 12}, {"gained", 0}}));
  EXPECT_TRUE(task.at("metrics").at("acc").at("significant"));
  EXPECT_EQ(task.at("subjects").at("law").at("n"), 15);
  EXPECT_EQ(task.at("subjects").at("physics").at("flips").at("lost"), 0);
  EXPECT_THAT(json.at("disagreement").get<std::string>(), HasSubstr("worse on"));
  const std::string table = Run({"full", recipe, "--results", "DIR/results.db", "--subjects"});
  EXPECT_THAT(table, HasSubstr("12 lost, 0 gained of 30"));
  EXPECT_THAT(table, HasSubstr("physics"));
}

// Windows of another length are as many and weigh the same; so are questions with other examples.
TEST_F(CompareCommand, AnotherProtocolIsRefused) {
  ResultsDb db = ResultsDb::Open(folder_.File("results.db"), ResultsDb::Mode::kWrite);
  CellRow row = fixture::OneModel().front();
  row.key = "another";
  row.recipe = "rtn-w5-g32";
  row.method = "rtn";
  row.protocol = "windows of 99";
  for (int i = 0; i < 30; ++i) row.outcomes.windows.push_back({.loss = 3.0 + i});
  db.Put(row);
  row = fixture::OneModel().front();
  row.key = "a third";
  row.recipe = "rtn-w6-g32";
  row.method = "rtn";
  row.protocol = "5-shot";
  for (int i = 0; i < 30; ++i)
    row.outcomes.answers.push_back({i < 15 ? "law" : "physics", 1, {-2, -1}, true, std::nullopt});
  db.Put(row);
  EXPECT_THAT(Run({"full", "rtn-w6-g32", "--results", "DIR/results.db"}),
              HasSubstr("another protocol: '5-shot'"));
  EXPECT_THAT(Run({"full", "rtn-w5-g32", "--results", "DIR/results.db"}),
              HasSubstr("was measured by another protocol: 'windows of 99', expected"));
}

TEST_F(CompareCommand, WhatCannotBeComparedIsNamed) {
  EXPECT_THAT(Run({"full", "rtn-w9", "--results", "DIR/results.db"}),
              HasSubstr("no done cell of 'rtn-w9'; recipes:"));
  EXPECT_THAT(Run({"full", "full", "--results", "DIR/results.db", "--tasks", "piqa"}),
              HasSubstr("no measured task"));
  EXPECT_THAT(Run({"DIR/a", "DIR/b"}), HasSubstr("is no file or folder"));
  EXPECT_THAT(Run({"DIR/a", "DIR/b", "--model", "m"}), HasSubstr("--model is for recipes"));
}

}  // namespace
}  // namespace lowbit
