// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/tables.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "lowbit/base/human.h"
#include "lowbit/report/format.h"

namespace lowbit {
namespace {

using Texts = std::vector<std::string>;

// ---- CSV ------------------------------------------------------------------------------------------

std::string Exact(const std::optional<double>& value) {
  return value ? FormatExact(*value) : "";
}
std::string Exact(const std::optional<uint64_t>& value) {
  return value ? fmt::format("{}", *value) : "";
}

// Names and texts of one line; the names are the header. `value` is null for a failed cell.
std::vector<std::pair<const char*, std::string>> CsvLine(const ReportModel& model, const ReportColumn& column,
                                                         const CellRow& row, const ReportValue* value) {
  const bool done = value != nullptr;
  const CellStorage* storage = row.storage ? &*row.storage : nullptr;
  const CellProvenance& p = row.provenance;
  const MetricComparison* paired = done && value->paired ? &*value->paired : nullptr;
  const Flips* flips = paired != nullptr && paired->flips ? &*paired->flips : nullptr;
  return {
      {"model", model.name},
      {"recipe", row.recipe},
      {"method", row.method},
      {"bits", fmt::format("{}", row.weight_bits)},
      {"group_size", fmt::format("{}", row.group_size)},
      {"symmetric", row.symmetric ? "1" : "0"},
      {"quantized_bpw", storage ? FormatExact(storage->quantized_bpw) : ""},
      {"model_bpw", storage ? FormatExact(storage->model_bpw) : ""},
      {"model_bytes", storage ? fmt::format("{}", storage->model_bytes) : ""},
      {"task", row.task},
      {"metric", done ? column.metric : ""},
      {"value", done ? FormatExact(value->value) : ""},
      {"stderr", done ? Exact(value->standard_error) : ""},
      {"n", done ? fmt::format("{}", value->n) : ""},
      {"higher_is_better", done ? (column.higher_is_better ? "1" : "0") : ""},
      {"delta", done ? Exact(value->delta) : ""},
      {"relative", done ? Exact(value->relative) : ""},
      {"difference_low", paired ? FormatExact(paired->difference.low) : ""},
      {"difference_high", paired ? FormatExact(paired->difference.high) : ""},
      {"p", paired ? FormatExact(paired->difference.p) : ""},
      {"lost", flips ? fmt::format("{}", flips->lost) : ""},
      {"gained", flips ? fmt::format("{}", flips->gained) : ""},
      {"best", done ? (value->best ? "1" : "0") : ""},
      {"status", done ? "done" : "failed"},
      {"error", row.error},
      {"notes", row.notes},
      {"quantize_seconds", Exact(p.quantize_seconds)},
      {"shared_seconds", Exact(p.shared_seconds)},
      {"shared_by", p.shared_by ? fmt::format("{}", *p.shared_by) : ""},
      {"eval_seconds", Exact(p.eval_seconds)},
      {"peak_bytes", Exact(p.peak_bytes)},
      {"protocol", row.protocol},
      {"compute_type", p.compute_type},
      {"isa", p.isa},
      {"cpu", p.cpu},
      {"cores", fmt::format("{}", p.cores)},
      {"threads", fmt::format("{}", p.threads)},
      {"started", p.started},
      {"code_version", p.code_version},
      {"weights_hash", p.weights_hash},
      {"tokenizer_hash", p.tokenizer_hash},
      {"text_hash", p.text_hash},
      {"recipe_hash", p.recipe_hash},
  };
}

// True where `cell` repeats a failed cell that an earlier column of its task already showed.
bool IsRepeatedFailure(const ReportRow& row, size_t column) {
  const ReportCell& cell = row.cells[column];
  return !cell.value && std::any_of(row.cells.begin(), row.cells.begin() + static_cast<ptrdiff_t>(column),
                                    [&cell](const ReportCell& other) { return other.source == cell.source; });
}

// Calls visit(row, column number) for every cell that was run; a failed one once, not once per metric.
template <class Visitor>
void VisitCells(const ReportModel& model, Visitor&& visit) {
  for (const ReportRow& row : model.rows) {
    for (size_t c = 0; c < model.columns.size(); ++c) {
      if (row.cells[c].source && !IsRepeatedFailure(row, c)) visit(row, c);
    }
  }
}

// ---- Markdown and LaTeX -----------------------------------------------------------------------------

// What the two languages do differently.
struct Dialect {
  std::string (*text)(std::string_view);
  std::string (*number)(std::string_view);
  std::string bold_open, bold_close, plus_minus, none, percent;
};

std::string Plain(std::string_view number) {
  return std::string(number);
}

Texts Header(const ReportModel& model, const Dialect& d) {
  Texts header = {d.text("Recipe"), d.text("Bits per weight"), d.text("Size")};
  for (const ReportColumn& column : model.columns) {
    header.push_back(d.text(column.label));
    if (!column.compares_models)
      header.insert(header.end(), {d.text("Change"), d.text("Change ") + d.percent});
  }
  return header;
}

void AddCell(Texts& out, const ReportCell& cell, const ReportColumn& column, const Dialect& d) {
  if (!cell.value) {
    out.push_back(cell.source ? d.text("failed") : d.none);
    if (!column.compares_models) out.insert(out.end(), {d.none, d.none});
    return;
  }
  const ReportValue& v = *cell.value;
  std::string value = d.number(FormatValue(v.value));
  if (v.best) value = d.bold_open + value + d.bold_close;
  if (v.standard_error) value += d.plus_minus + d.number(FormatError(*v.standard_error));
  out.push_back(value);
  if (column.compares_models) return;
  const char* mark = v.paired && v.paired->Verdict() != 0 ? "*" : "";
  out.push_back(v.delta ? d.number(FormatDelta(*v.delta)) + d.text(mark) : d.none);
  out.push_back(v.relative ? d.number(FormatPercent(*v.relative)) : d.none);
}

Texts Line(const ReportRow& row, const ReportModel& model, const Dialect& d) {
  Texts line = {d.text(row.recipe)};
  line.push_back(row.storage ? d.number(fmt::format("{:.2f}", row.storage->quantized_bpw)) : d.none);
  line.push_back(row.storage ? d.text(HumanBytes(row.storage->model_bytes)) : d.none);
  for (size_t c = 0; c < row.cells.size(); ++c) AddCell(line, row.cells[c], model.columns[c], d);
  return line;
}

// What belongs under the table: how each column was measured, and why cells are missing.
Texts Footnotes(const Report& report, const ReportModel& model) {
  Texts notes;
  for (const ReportColumn& c : model.columns) {
    const std::string direction = c.Direction();
    notes.push_back(fmt::format("{}: {}{}{}", c.label, direction, direction.empty() ? "" : "; ", c.protocol));
  }
  bool has_mark = false;
  VisitCells(model, [&](const ReportRow& row, size_t c) {
    const CellRow& source = report.Source(row.cells[c]);
    const std::optional<ReportValue>& value = row.cells[c].value;
    has_mark = has_mark || (value && value->paired && value->paired->Verdict() != 0);
    if (!value) {
      notes.push_back(fmt::format("{}, {}: failed: {}", row.recipe, source.task, source.error));
    }
  });
  if (has_mark)
    notes.push_back(
        "*: more than chance, compared with full precision on the same questions or windows, p < 0.05");
  return notes;
}

}  // namespace

std::string RenderCsv(const Report& report) {
  std::string out;
  for (const ReportModel& model : report.models) {
    VisitCells(model, [&](const ReportRow& row, size_t c) {
      const ReportCell& cell = row.cells[c];
      const auto line =
          CsvLine(model, model.columns[c], report.Source(cell), cell.value ? &*cell.value : nullptr);
      Texts names, fields;
      for (const auto& [name, text] : line) {
        names.emplace_back(name);
        fields.push_back(CsvField(text));
      }
      if (out.empty()) out = fmt::format("{}\n", fmt::join(names, ","));
      out += fmt::format("{}\n", fmt::join(fields, ","));
    });
  }
  return out;
}

std::string RenderMarkdown(const Report& report) {
  const Dialect markdown{MarkdownText, Plain, "**", "**", " ± ", "–", "%"};
  std::string out = fmt::format("# {}\n", MarkdownText(report.title));
  for (const ReportModel& model : report.models) {
    out += fmt::format("\n## {}\n\n", MarkdownText(model.name));
    if (!model.finding.empty()) out += MarkdownText(model.finding) + "\n\n";
    const Texts header = Header(model, markdown);
    out += fmt::format("| {} |\n| --- |{}\n", fmt::join(header, " | "), [&header] {
      std::string rule;
      for (size_t i = 1; i < header.size(); ++i) rule += " ---: |";
      return rule;
    }());
    for (const ReportRow& row : model.rows)
      out += fmt::format("| {} |\n", fmt::join(Line(row, model, markdown), " | "));
    out += "\nBold: best of the recipes with that many bits.\n";
    for (const std::string& note : Footnotes(report, model)) out += "\n* " + MarkdownText(note);
    out += "\n";
  }
  if (!report.remarks.empty()) out += "\n## Remarks\n";
  for (const std::string& remark : report.remarks) out += "\n* " + MarkdownText(remark);
  if (!report.remarks.empty()) out += "\n";
  out += "\n## How it was measured\n";
  for (const ReportFact& fact : report.facts) {
    out +=
        fmt::format("\n* {}: {}", fact.name, MarkdownText(fmt::format("{}", fmt::join(fact.values, "; "))));
  }
  return out + "\n";
}

std::string RenderLatex(const Report& report) {
  const Dialect latex{LatexText, LatexNumber, "{\\boldmath\\bfseries ", "}", " $\\pm$ ", "--", "\\%"};
  const auto comment = [](std::string text) {
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
    return "% " + text + "\n";
  };
  std::string out = comment(report.title) + comment("needs \\usepackage{booktabs}");
  for (const ReportModel& model : report.models) {
    const Texts header = Header(model, latex);
    out += "\n" + comment(model.name);
    if (!model.finding.empty()) out += comment(model.finding);
    out += fmt::format("\\begin{{tabular}}{{l{}}}\n\\toprule\n{} \\\\\n\\midrule\n",
                       std::string(header.size() - 1, 'r'), fmt::join(header, " & "));
    uint32_t bits = model.rows.empty() ? 0 : model.rows.front().bits;
    for (const ReportRow& row : model.rows) {
      if (row.bits != bits) out += "\\addlinespace\n";
      bits = row.bits;
      out += fmt::format("{} \\\\\n", fmt::join(Line(row, model, latex), " & "));
    }
    out += "\\bottomrule\n\\end{tabular}\n";
    for (const std::string& note : Footnotes(report, model)) out += comment(note);
  }
  for (const std::string& remark : report.remarks) out += comment(remark);
  return out;
}

}  // namespace lowbit
