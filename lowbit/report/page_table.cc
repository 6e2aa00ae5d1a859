// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <iterator>
#include <set>

#include "lowbit/base/human.h"
#include "lowbit/report/format.h"
#include "lowbit/report/page_parts.h"

namespace lowbit {
namespace {

// Of a measure: value, standard error, and where there is one, change and change in percent.
int Subcolumns(const ReportColumn& column) {
  return column.compares_models ? 2 : 4;
}

using Out = std::back_insert_iterator<std::string>;

// A heading that sorts; `key` names a value of PageData's rows ("bpw", "value:0").
void SortHeading(Out out, std::string_view key, std::string_view html, std::string_view attributes) {
  fmt::format_to(out, R"(<th scope="col" {}><button type="button" data-sort="{}">{}</button></th>)",
                 attributes, key, html);
}

void Head(Out out, const ReportModel& model) {
  fmt::format_to(out, "<thead><tr>");
  SortHeading(out, "recipe", "Recipe", R"(rowspan="2" class="recipe")");
  SortHeading(out, "bits", "Bits", R"(rowspan="2" class="spare")");
  SortHeading(out, "group", "Group", R"(rowspan="2" class="spare")");
  SortHeading(out, "bpw", "Bits per<br>weight", R"(rowspan="2")");
  SortHeading(out, "bytes", "Size", R"(rowspan="2")");
  for (const ReportColumn& c : model.columns) {
    fmt::format_to(
        out, R"(<th scope="colgroup" colspan="{}" class="measure" title="{}">{} <small>{}</small></th>)",
        Subcolumns(c), HtmlText(c.protocol), HtmlText(c.label), c.Direction());
  }
  fmt::format_to(out, "</tr><tr>");
  for (size_t i = 0; i < model.columns.size(); ++i) {
    SortHeading(out, fmt::format("value:{}", i), "Value", R"(class="edge")");
    SortHeading(out, fmt::format("stderr:{}", i), R"(±<span class="unseen"> one standard error</span>)",
                R"(class="error")");
    if (model.columns[i].compares_models) continue;
    SortHeading(out, fmt::format("delta:{}", i), "Change", "");
    SortHeading(out, fmt::format("relative:{}", i), "Change&nbsp;%", "");
  }
  fmt::format_to(out, "</tr></thead>");
}

void NumberCell(Out out, std::string_view kind, std::string_view exact, std::string_view html) {
  fmt::format_to(out, R"(<td class="{}" data-value="{}">{}</td>)", kind, exact, html);
}

void Missing(Out out, int columns, bool is_measure = false) {
  for (int i = 0; i < columns; ++i) {
    fmt::format_to(out, R"(<td class="{}none">–</td>)", i == 0 && is_measure ? "edge " : "");
  }
}

// How much was lost, as a class: below 1 % is quiet, from 10 % on it is loud.
std::string_view Severity(const ReportColumn& column, double relative) {
  const double loss = column.higher_is_better ? -relative : relative;
  return loss < 0.01 ? "relative slight" : loss < 0.1 ? "relative" : "relative heavy";
}

// A star on a change that is more than chance.
std::string Mark(const ReportValue& v) {
  if (!v.paired || v.paired->Verdict() == 0) return "";
  return fmt::format(R"(<sup title="p = {}, paired with full precision">*</sup>)",
                     HtmlText(FormatProbability(v.paired->difference.p)));
}

void Cell(Out out, const Report& report, const ReportColumn& column, const ReportCell& cell) {
  if (!cell.source) return Missing(out, Subcolumns(column), true);
  if (!cell.value) {
    const CellRow& row = report.Source(cell);
    fmt::format_to(out, R"(<td colspan="{}" class="edge failed"><strong>failed</strong> {}</td>)",
                   Subcolumns(column), HtmlText(row.error));
    return;
  }
  const ReportValue& v = *cell.value;
  std::string html = HtmlNumber(FormatValue(v.value));
  if (v.best) html = fmt::format(R"(<b title="best with this many bits">{}</b>)", html);
  NumberCell(out, "edge value", FormatExact(v.value), html);
  if (v.standard_error) {
    NumberCell(out, "error", FormatExact(*v.standard_error), HtmlNumber(FormatError(*v.standard_error)));
  } else {
    Missing(out, 1);
  }
  if (column.compares_models) return;
  if (v.delta) {
    NumberCell(out, "delta", FormatExact(*v.delta), HtmlNumber(FormatDelta(*v.delta)) + Mark(v));
  } else {
    Missing(out, 1);
  }
  if (v.relative) {
    NumberCell(out, Severity(column, *v.relative), FormatExact(*v.relative),
               HtmlNumber(FormatPercent(*v.relative)));
  } else {
    Missing(out, 1);
  }
}

void Body(Out out, const Report& report, const ReportModel& model) {
  fmt::format_to(out, "<tbody>");
  std::optional<uint32_t> bits;
  for (size_t i = 0; i < model.rows.size(); ++i) {
    const ReportRow& row = model.rows[i];
    const char* kind = row.IsFull() ? "full" : row.bits != bits ? "step" : "";
    bits = row.IsFull() ? std::nullopt : std::optional(row.bits);
    fmt::format_to(out, R"(<tr data-row="{}" class="{}"><th scope="row" class="recipe"><span>{}</span></th>)",
                   i, kind, HtmlText(row.recipe));
    NumberCell(out, "bits spare", fmt::format("{}", row.bits), fmt::format("{}", row.bits));
    fmt::format_to(out, R"(<td class="spare">{}</td>)", row.grouping.empty() ? "–" : HtmlText(row.grouping));
    if (row.storage) {
      NumberCell(out, "bpw", FormatExact(row.storage->quantized_bpw),
                 fmt::format("{:.2f}", row.storage->quantized_bpw));
      NumberCell(out, "bytes", fmt::format("{}", row.storage->model_bytes),
                 HumanBytes(row.storage->model_bytes));
    } else {
      Missing(out, 2);
    }
    for (size_t c = 0; c < row.cells.size(); ++c) Cell(out, report, model.columns[c], row.cells[c]);
    fmt::format_to(out, "</tr>\n");
  }
  fmt::format_to(out, "</tbody>");
}

// "n = 511", or the range when recipes were measured on different amounts.
std::string Counts(const ReportModel& model, size_t column) {
  std::set<uint64_t> counts;
  for (const ReportRow& row : model.rows) {
    if (row.cells[column].value) counts.insert(row.cells[column].value->n);
  }
  if (counts.empty()) return "";
  if (counts.size() == 1) return fmt::format("n = {}", *counts.begin());
  return fmt::format("n = {} to {}", *counts.begin(), *counts.rbegin());
}

void Key(Out out, const ReportModel& model) {
  fmt::format_to(out, R"(<dl class="key">)");
  for (size_t i = 0; i < model.columns.size(); ++i) {
    const std::string counts = Counts(model, i);
    fmt::format_to(out, "<dt>{}</dt><dd>{}{}{}</dd>", HtmlText(model.columns[i].label),
                   HtmlText(model.columns[i].protocol), counts.empty() ? "" : "; ", counts);
  }
  fmt::format_to(out, "</dl>");
}

}  // namespace

std::string ModelSection(const Report& report, size_t index) {
  const ReportModel& model = report.models[index];
  std::string html;
  const Out out = std::back_inserter(html);
  fmt::format_to(out, R"(<section class="model" data-model="{}"><h3{}>{}</h3>)", index,
                 report.models.size() == 1 ? R"( class="unseen")" : "", HtmlText(model.name));
  fmt::format_to(out, R"(<div class="scroll" tabindex="0" role="region" aria-label="Results of {}"><table>)",
                 HtmlText(model.name));
  Head(out, model);
  Body(out, report, model);
  fmt::format_to(out, "</table></div>");
  Key(out, model);
  html += PairedSection(model);
  fmt::format_to(out, "</section>\n");
  return html;
}

}  // namespace lowbit
