// SPDX-License-Identifier: Apache-2.0
// Measures that compare a model with full precision, in every output.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/report/fixture.h"
#include "lowbit/report/page.h"
#include "lowbit/report/report.h"
#include "lowbit/report/tables.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Report Compared() {
  return BuildReport(fixture::Compared(), "", "results.db");
}

TEST(DivergenceColumns, HaveNamesForPeopleUnitsAndNoChange) {
  const Report report = Compared();
  const ReportModel& model = report.models[0];
  ASSERT_EQ(model.columns.size(), 5u);
  EXPECT_EQ(model.columns[0].label, "wikitext2 perplexity");
  EXPECT_FALSE(model.columns[0].compares_models);
  EXPECT_EQ(model.columns[1].label, "wikitext2 KL mean");
  EXPECT_EQ(model.columns[1].Direction(), "nats, lower is better");
  EXPECT_EQ(model.columns[3].label, "wikitext2 KL 99 %");
  EXPECT_EQ(model.columns[4].label, "wikitext2 top-1 agreement");
  EXPECT_EQ(model.columns[4].Direction(), "higher is better");
  for (const ReportRow& row : model.rows) {
    for (size_t c = 1; c < row.cells.size(); ++c) {
      EXPECT_EQ(row.cells[c].source.has_value(), !row.IsFull()) << row.recipe << ", column " << c;
      EXPECT_FALSE(row.cells[c].value && row.cells[c].value->delta) << row.recipe;
    }
  }
  EXPECT_THAT(model.finding, HasSubstr("wikitext2 perplexity"));
}

TEST(DivergenceColumns, TheBestOfEachBitWidthIsMarked) {
  const Report report = Compared();
  const ReportModel& model = report.models[0];
  for (const ReportRow& row : model.rows) {
    if (row.IsFull()) continue;
    const bool best = row.group_size == 64;  // the fixture's finest groups
    EXPECT_EQ(row.cells[1].value->best, best) << row.recipe;
    EXPECT_EQ(row.cells[4].value->best, best) << row.recipe;
  }
}

TEST(DivergenceColumns, FullPrecisionIsNoFailureInAnyTable) {
  const Report report = Compared();
  const std::string csv = RenderCsv(report), markdown = RenderMarkdown(report), latex = RenderLatex(report);
  for (const std::string* text : {&csv, &markdown, &latex}) EXPECT_THAT(*text, Not(HasSubstr("failed")));
  EXPECT_THAT(csv, HasSubstr(",kl_mean,"));
  EXPECT_THAT(csv, HasSubstr(",kl_median,"));
  EXPECT_THAT(markdown, HasSubstr("| wikitext2 perplexity | Change | Change % | wikitext2 KL mean | "
                                  "wikitext2 KL median | wikitext2 KL 99 % | wikitext2 top-1 agreement |"));
  EXPECT_THAT(markdown, HasSubstr("| full | 16.00 | 1.19 GB | 83.72 ± 1.0 | – | – | – | – | – | – |"));
  EXPECT_THAT(latex, HasSubstr("wikitext2 KL 99 \\%"));
}

TEST(DivergenceColumns, EveryLineOfATableHasAsManyFieldsAsItsHeader) {
  std::vector<CellRow> rows = fixture::Compared();
  rows.push_back(
      fixture::Failed(fixture::Row(fixture::kSmall, "gptq", 4, 128, "wikitext2"), "numeric", "NaN"));
  const std::string markdown = RenderMarkdown(BuildReport(std::move(rows), "", "results.db"));
  size_t lines = 0;
  for (size_t at = 0; (at = markdown.find("\n| ", at)) != std::string::npos; ++at) {
    const std::string line = markdown.substr(at + 1, markdown.find('\n', at + 1) - at - 1);
    if (line.starts_with("| ---")) continue;
    EXPECT_EQ(std::count(line.begin(), line.end(), '|'), 11) << line;
    ++lines;
  }
  EXPECT_EQ(lines, 1u + 1 + 21 + 1);
}

TEST(DivergenceColumns, OfThePageAreNarrowAndDrawn) {
  const std::string page = RenderPage(Compared());
  EXPECT_THAT(page, HasSubstr(R"(colspan="2" class="measure")"));
  EXPECT_THAT(page, HasSubstr("KL mean <small>nats, lower is better</small>"));
  EXPECT_THAT(page, Not(HasSubstr(R"(data-sort="delta:1")")));
  EXPECT_THAT(page, HasSubstr(R"(data-sort="delta:0")"));
  EXPECT_THAT(page, HasSubstr(R"(id="kl-chart")"));
  EXPECT_THAT(page, HasSubstr(R"("comparesModels":true)"));
}

}  // namespace
}  // namespace lowbit
