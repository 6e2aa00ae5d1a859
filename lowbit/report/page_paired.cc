// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <iterator>

#include "lowbit/report/format.h"
#include "lowbit/report/page_parts.h"

namespace lowbit {
namespace {

using Out = std::back_insert_iterator<std::string>;

std::string_view VerdictClass(int verdict) {
  return verdict < 0 ? "heavy" : verdict > 0 ? "better" : "slight";
}

void Interval(Out out, const MetricComparison& m) {
  const PairedDifference& d = m.difference;
  fmt::format_to(out, R"(<td class="edge {}">{}</td><td class="slight">{} to {}</td><td>{}</td>)",
                 VerdictClass(m.Verdict()), HtmlNumber(FormatDelta(d.difference())),
                 HtmlNumber(FormatDelta(d.low)), HtmlNumber(FormatDelta(d.high)),
                 HtmlText(FormatProbability(d.p)));
  if (m.flips) fmt::format_to(out, "<td>{} / {}</td>", m.flips->lost, m.flips->gained);
}

// Columns of which some recipe was compared with full precision pair by pair.
std::vector<size_t> PairedColumns(const ReportModel& model) {
  std::vector<size_t> columns;
  for (size_t c = 0; c < model.columns.size(); ++c) {
    for (const ReportRow& row : model.rows) {
      if (!row.cells[c].value || !row.cells[c].value->paired) continue;
      columns.push_back(c);
      break;
    }
  }
  return columns;
}

bool HasFlips(const ReportModel& model, size_t column) {
  for (const ReportRow& row : model.rows) {
    const std::optional<ReportValue>& value = row.cells[column].value;
    if (value && value->paired) return value->paired->flips.has_value();
  }
  return false;
}

void PairedTable(Out out, const ReportModel& model, const std::vector<size_t>& columns) {
  fmt::format_to(
      out,
      R"(<details class="more"><summary>What is more than chance</summary>)"
      R"(<p class="note">Every recipe against full precision on the same questions or windows: the change, its 95 % )"
      R"(interval, and how often chance alone would make it as large. Lost and gained are answers that were )"
      R"(right before and are wrong now, and the other way round.</p>)"
      R"(<div class="scroll" tabindex="0" role="region" aria-label="Paired differences"><table><thead><tr>)"
      R"(<th scope="col" rowspan="2" class="recipe">Recipe</th>)");
  for (const size_t c : columns) {
    fmt::format_to(out, R"(<th scope="colgroup" colspan="{}" class="measure">{}</th>)",
                   HasFlips(model, c) ? 4 : 3, HtmlText(model.columns[c].label));
  }
  fmt::format_to(out, "</tr><tr>");
  for (const size_t c : columns) {
    fmt::format_to(
        out,
        R"(<th scope="col" class="edge">Change</th><th scope="col">95 % interval</th><th scope="col">p</th>{})",
        HasFlips(model, c) ? R"(<th scope="col">Lost / gained</th>)" : "");
  }
  fmt::format_to(out, "</tr></thead><tbody>");
  for (const ReportRow& row : model.rows) {
    if (row.IsFull()) continue;
    fmt::format_to(out, R"(<tr><th scope="row" class="recipe"><span>{}</span></th>)", HtmlText(row.recipe));
    for (const size_t c : columns) {
      const std::optional<ReportValue>& value = row.cells[c].value;
      if (value && value->paired) {
        Interval(out, *value->paired);
      } else {
        fmt::format_to(out, R"(<td class="edge none" colspan="{}">–</td>)", HasFlips(model, c) ? 4 : 3);
      }
    }
    fmt::format_to(out, "</tr>\n");
  }
  fmt::format_to(out, "</tbody></table></div></details>");
}

// One row a subject, one column a recipe.
void SubjectsTable(Out out, const ReportModel& model, const ReportSubjects& table) {
  fmt::format_to(
      out,
      R"(<details class="more"><summary>{} by subject</summary>)"
      R"(<p class="note">Share of right answers. Coloured where a recipe differs from full precision with p below )"
      R"(0.05; of {} subjects about one in twenty does so by chance. The tooltip says what was lost and gained.</p>)"
      R"(<div class="scroll" tabindex="0" role="region" aria-label="{} by subject"><table><thead><tr>)"
      R"(<th scope="col" class="recipe">Subject</th><th scope="col">Questions</th>)",
      HtmlText(table.task), table.names.size(), HtmlText(table.task));
  for (const ReportSubjects::Row& row : table.rows)
    fmt::format_to(out, R"(<th scope="col">{}</th>)", HtmlText(model.rows[row.row].recipe));
  fmt::format_to(out, "</tr></thead><tbody>");
  for (size_t s = 0; s < table.names.size(); ++s) {
    fmt::format_to(out, R"(<tr><th scope="row" class="recipe"><span>{}</span></th><td>{}</td>)",
                   HtmlText(table.names[s]), table.rows.front().subjects[s].difference.n);
    for (const ReportSubjects::Row& row : table.rows) {
      const SubsetComparison& of = row.subjects[s];
      const int verdict = of.difference.IsSignificant() ? (of.difference.difference() > 0 ? 1 : -1) : 0;
      fmt::format_to(out, R"(<td class="{}" title="{} lost, {} gained; p = {}">{:.3f}</td>)",
                     verdict == 0 ? "" : VerdictClass(verdict), of.flips.lost, of.flips.gained,
                     HtmlText(FormatProbability(of.difference.p)), of.difference.b);
    }
    fmt::format_to(out, "</tr>\n");
  }
  fmt::format_to(out, "</tbody></table></div></details>");
}

}  // namespace

std::string PairedSection(const ReportModel& model) {
  std::string html;
  const Out out = std::back_inserter(html);
  if (const std::vector<size_t> columns = PairedColumns(model); !columns.empty())
    PairedTable(out, model, columns);
  for (const ReportSubjects& table : model.subjects) SubjectsTable(out, model, table);
  return html;
}

}  // namespace lowbit
