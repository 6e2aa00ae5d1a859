// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "lowbit/report/fixture.h"

namespace lowbit {
namespace {

using fixture::Failed;
using fixture::kHostile;
using fixture::kSmall;
using fixture::Perplexity;
using fixture::Row;
using testing::HasSubstr;
using testing::Not;
using testing::SizeIs;

using Records = std::vector<std::vector<std::string>>;

// A reader of RFC 4180 written apart from the writer.
Records ParseCsv(const std::string& text) {
  Records records(1, {""});
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    std::string& field = records.back().back();
    if (quoted && text[i] == '"' && i + 1 < text.size() && text[i + 1] == '"') {
      field += text[i++];
    } else if (text[i] == '"') {
      quoted = !quoted;
    } else if (!quoted && text[i] == ',') {
      records.back().emplace_back();
    } else if (!quoted && text[i] == '\n') {
      records.push_back({""});
    } else {
      field += text[i];
    }
  }
  records.pop_back();  // after the last newline
  return records;
}

size_t Column(const Records& records, const std::string& name) {
  return static_cast<size_t>(std::find(records[0].begin(), records[0].end(), name) - records[0].begin());
}

Report SmallStudy() {
  return BuildReport({Perplexity(kSmall, "full", 16, 0, 80), Perplexity(kSmall, "rtn", 4, 0, 100),
                      Perplexity(kSmall, "rtn", 4, 128, 82), Perplexity(kSmall, "rtn", 1, 128, 2.1e6),
                      Failed(Row(kSmall, "gptq", 2, 0, "wikitext2"), "numeric", "pivot 3 | of 8_000 is < 0")},
                     "A small study", "results.db");
}

TEST(Csv, EveryNumberReadsBackToTheSameBits) {
  const std::vector<CellRow> rows = fixture::TwoModels();
  const Records records = ParseCsv(RenderCsv(BuildReport(rows, "", "results.db")));
  const size_t value = Column(records, "value"), error = Column(records, "stderr"),
               bpw = Column(records, "quantized_bpw");
  size_t found = 0, expected = 0;
  for (const CellRow& row : rows) {
    expected += std::max<size_t>(1, row.metrics.size());
    for (const Metric& metric : row.metrics) {
      for (const std::vector<std::string>& r : records) {
        if (r[0] != row.model || r[1] != row.recipe || r[Column(records, "task")] != row.task) continue;
        if (r[Column(records, "metric")] != metric.name) continue;
        ++found;
        EXPECT_EQ(std::strtod(r[value].c_str(), nullptr), metric.value);
        EXPECT_EQ(std::strtod(r[error].c_str(), nullptr), *metric.standard_error);
        EXPECT_EQ(std::strtod(r[bpw].c_str(), nullptr), row.storage->quantized_bpw);
      }
    }
  }
  EXPECT_EQ(found + 2, expected) << "all but the two failed cells have numbers";
  EXPECT_EQ(records.size(), expected + 1);
}

TEST(Csv, HostileTextSurvivesInItsField) {
  const Records records = ParseCsv(RenderCsv(BuildReport(fixture::TwoModels(), "", "results.db")));
  for (const std::vector<std::string>& record : records) EXPECT_EQ(record.size(), records[0].size());
  EXPECT_EQ(records.back()[0], kHostile);
  EXPECT_EQ(records.back()[Column(records, "error")], kHostile);
  EXPECT_EQ(records.back()[Column(records, "status")], "failed");
  EXPECT_EQ(records.back()[Column(records, "value")], "");
}

TEST(Csv, AFailedCellOfATaskWithTwoMetricsIsOneLine) {
  const std::vector<CellRow> rows = {fixture::Accuracy(kSmall, "full", 16, 0, 0.5),
                                     Failed(Row(kSmall, "rtn", 2, 0, "piqa"), "content", "cut file")};
  CellRow failed = rows[1];
  failed.protocol = rows[0].protocol;
  EXPECT_THAT(ParseCsv(RenderCsv(BuildReport({rows[0], failed}, "", "results.db"))), SizeIs(1 + 2 + 1));
}

TEST(Markdown, ASmallStudy) {
  EXPECT_THAT(RenderMarkdown(SmallStudy()), testing::StartsWith(R"(# A small study

## Qwen3-0.6B

On wikitext2 perplexity (80.00 in full precision), 4 bits cost +2.50 %, 1 bit multiplies it by 26250, at the best recipe for each.

| Recipe | Bits per weight | Size | wikitext2 perplexity | Change | Change % |
| --- | ---: | ---: | ---: | ---: | ---: |
| full | 16.00 | 1.19 GB | 80.00 ± 0.98 | – | – |
| rtn-w4-channel | 4.02 | 532 MB | 100.0 ± 1.2 | +20.0 | +25.0 % |
| rtn-w4-g128 | 4.16 | 540 MB | **82.00** ± 1.0 | +2.00 | +2.50 % |
| gptq-w2-channel | – | – | failed | – | – |
| rtn-w1-g128 | 1.13 | 373 MB | 2.100e6 ± 2.6e4 | +2.10e6 | +2.62e6 % |

Bold: best of the recipes with that many bits.

* wikitext2 perplexity: lower is better; wikitext2: raw test, one encode, windows of 512, first 100, no BOS
* gptq-w2-channel, wikitext2: failed: pivot 3 \| of 8\_000 is &lt; 0

## How it was measured
)"));
}

TEST(Latex, ASmallStudy) {
  EXPECT_EQ(RenderLatex(SmallStudy()), R"(% A small study
% needs \usepackage{booktabs}

% Qwen3-0.6B
% On wikitext2 perplexity (80.00 in full precision), 4 bits cost +2.50 %, 1 bit multiplies it by 26250, at the best recipe for each.
\begin{tabular}{lrrrrr}
\toprule
Recipe & Bits per weight & Size & wikitext2 perplexity & Change & Change \% \\
\midrule
full & $16.00$ & 1.19 GB & $80.00$ $\pm$ $0.98$ & -- & -- \\
\addlinespace
rtn-w4-channel & $4.02$ & 532 MB & $100.0$ $\pm$ $1.2$ & $+20.0$ & $+25.0$\,\% \\
rtn-w4-g128 & $4.16$ & 540 MB & {\boldmath\bfseries $82.00$} $\pm$ $1.0$ & $+2.00$ & $+2.50$\,\% \\
\addlinespace
gptq-w2-channel & -- & -- & failed & -- & -- \\
\addlinespace
rtn-w1-g128 & $1.13$ & 373 MB & $2.100\times10^{6}$ $\pm$ $2.6\times10^{4}$ & $+2.10\times10^{6}$ & $+2.62\times10^{6}$\,\% \\
\bottomrule
\end{tabular}
% wikitext2 perplexity: lower is better; wikitext2: raw test, one encode, windows of 512, first 100, no BOS
% gptq-w2-channel, wikitext2: failed: pivot 3 | of 8_000 is < 0
)");
}

TEST(Latex, ANewlineDoesNotEndAComment) {
  CellRow failed =
      Failed(Row(kSmall, "rtn", 2, 0, "wikitext2"), "content", "first\n\\input{secret}\r\\end{document}");
  const std::string text = RenderLatex(BuildReport({failed}, "title\n\\bad", "results.db"));
  EXPECT_THAT(text, HasSubstr("% title \\bad\n"));
  EXPECT_THAT(text, Not(HasSubstr("\n\\input")));
  EXPECT_THAT(text, Not(HasSubstr("\r")));
}

TEST(Markdown, HostileNamesStayInTheirCell) {
  const std::string text = RenderMarkdown(BuildReport(fixture::TwoModels(), "", "results.db"));
  EXPECT_THAT(text, Not(HasSubstr("<")));
}

}  // namespace
}  // namespace lowbit
