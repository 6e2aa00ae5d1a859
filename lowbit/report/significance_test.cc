// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/significance.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/report/fixture.h"
#include "lowbit/report/page.h"
#include "lowbit/report/tables.h"

namespace lowbit {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

// Thirty questions of two subjects, of which the first `wrong` are wrong.
CellRow WithAnswers(CellRow row, int wrong) {
  row.task = "mmlu";
  row.metrics = {{"acc", (30 - wrong) / 30.0, 0.09, 30, true}};
  for (int i = 0; i < 30; ++i)
    row.outcomes.answers.push_back(
        {i < 15 ? "law" : "physics & <co>", 0, {-1, -2}, i >= wrong, std::nullopt});
  return row;
}

CellRow WithWindows(CellRow row, double loss) {
  for (int i = 0; i < 20; ++i) row.outcomes.windows.push_back({.loss = loss + 0.1 * i});
  return row;
}

Report Make(std::vector<CellRow> rows) {
  for (size_t i = 0; i < rows.size(); ++i) rows[i].key = fmt::format("key {}", i);
  return BuildReport(std::move(rows), "", "results.db");
}

CellRow Full() {
  return fixture::OneModel().front();
}
CellRow Quantized() {
  return fixture::OneModel().back();
}

TEST(Significance, ChangesOnTheSameQuestionsAreTested) {
  const Report report = Make({WithAnswers(Full(), 2), WithAnswers(Quantized(), 14)});
  const ReportModel& model = report.models[0];
  const ReportValue& value = *model.rows[1].cells[0].value;
  ASSERT_TRUE(value.paired.has_value());
  EXPECT_EQ(value.paired->flips, (Flips{12, 0}));
  EXPECT_EQ(value.paired->Verdict(), -1);
  EXPECT_FALSE(model.rows[0].cells[0].value->paired.has_value()) << "full precision against itself";
  ASSERT_THAT(model.subjects, SizeIs(1));
  EXPECT_THAT(model.subjects[0].rows, SizeIs(2));
  EXPECT_EQ(model.subjects[0].rows[1].subjects[0].flips, (Flips{12, 0}));
  EXPECT_EQ(model.subjects[0].rows[1].subjects[1].flips, (Flips{0, 0}));
  EXPECT_THAT(report.remarks, Not(testing::Contains(HasSubstr("Not compared"))));
}

TEST(Significance, StandsInEveryFormat) {
  const Report report = Make({WithAnswers(Full(), 2), WithAnswers(Quantized(), 14)});
  const std::string page = RenderPage(report);
  EXPECT_THAT(page, HasSubstr("What is more than chance"));
  EXPECT_THAT(page, HasSubstr("<td>12 / 0</td>"));
  EXPECT_THAT(page, HasSubstr("mmlu by subject"));
  EXPECT_THAT(page, HasSubstr("physics &amp; &lt;co&gt;"));
  EXPECT_THAT(page, HasSubstr("<sup title="));
  EXPECT_THAT(RenderMarkdown(report), HasSubstr("more than chance"));
  EXPECT_THAT(RenderCsv(report), HasSubstr("lost,gained"));
}

TEST(Significance, TheFindingSaysWhatIsWithinChance) {
  const auto finding = [](int wrong) {
    return Make({WithAnswers(Full(), 2), WithAnswers(Quantized(), wrong)}).models[0].finding;
  };
  EXPECT_THAT(finding(4), HasSubstr("(within chance)"));
  EXPECT_THAT(finding(14), Not(HasSubstr("within chance")));
}

TEST(Significance, WithoutOutcomesThereIsNothingToSay) {
  const Report report = Make({Full(), Quantized()});
  EXPECT_FALSE(report.models[0].rows[1].cells[0].value->paired.has_value());
  EXPECT_THAT(report.models[0].subjects, IsEmpty());
  EXPECT_THAT(RenderPage(report), Not(HasSubstr("What is more than chance")));
  EXPECT_THAT(RenderMarkdown(report), Not(HasSubstr("more than chance")));
}

TEST(Significance, OtherQuestionsAreARemarkAndNoNumber) {
  CellRow other = WithAnswers(Quantized(), 14);
  other.outcomes.answers.pop_back();
  const Report report = Make({WithAnswers(Full(), 2), other});
  EXPECT_FALSE(report.models[0].rows[1].cells[0].value->paired.has_value());
  EXPECT_THAT(report.remarks, testing::Contains(HasSubstr("29 questions against 30")));
}

TEST(Significance, ARecipeThatIsBetterHereAndWorseThereIsRemarked) {
  const Report report = Make({WithAnswers(Full(), 2), WithWindows(Full(), 4), WithAnswers(Quantized(), 14),
                              WithWindows(Quantized(), 3.5)});
  EXPECT_THAT(report.remarks, testing::Contains(HasSubstr(
                                  "significantly better than full precision on wikitext2 perplexity but "
                                  "worse on mmlu acc")));
}

}  // namespace
}  // namespace lowbit
