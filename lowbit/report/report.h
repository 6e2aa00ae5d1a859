// SPDX-License-Identifier: Apache-2.0
// Room report: what results.db holds, arranged so that a person can judge it.
// In:  the rows of results.db (study/results_db.h), nothing else.   Out: one HTML page, or CSV, Markdown,
// LaTeX. Non-goals: measuring, choosing a recipe for the reader, anything that asks which model or method it
// is. The same database always gives the same bytes. Start reading here, then tables.h and page.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/study/compare_cells.h"
#include "lowbit/study/results_db.h"

namespace lowbit {

// One measured quantity: a metric of a task under one protocol.
struct ReportColumn {
  std::string task, protocol;
  std::string metric;  // empty when every cell of the task failed: nobody knows its metrics
  bool higher_is_better = false;
  std::string label;  // "wikitext2 perplexity", unique in the model
  std::string name;   // of the metric, for people: "KL mean"
  std::string unit;   // "nats"; often none
  bool compares_models =
      false;  // with full precision, which therefore has no number of it: no change to show

  std::string Direction() const;  // "lower is better", "nats, lower is better"; empty without a metric
};

// A number of one recipe, beside the full-precision one of the same column.
struct ReportValue {
  double value = 0;
  std::optional<double> standard_error;
  uint64_t n = 0;
  std::optional<double> delta;     // value − full precision; nullopt without one, and for full itself
  std::optional<double> relative;  // delta / |full precision|, a fraction
  bool best = false;               // of the ≥ 2 recipes with this many bits
  std::optional<MetricComparison> paired =
      {};  // with full precision, question by question or window by window
};

// One recipe in one column.
struct ReportCell {
  std::optional<size_t> source;      // row of Report::rows; nullopt: this recipe was not run on the task
  std::optional<ReportValue> value;  // nullopt with a source: the cell failed, the row says why
};

struct ReportRow {
  std::string recipe, method;
  uint32_t bits = 0;
  uint64_t group_size = 0;
  bool symmetric = false;
  std::string grouping;  // "channel", "g128"; empty for full precision
  std::string
      series;  // the recipe without its bits: "rtn g128". One line of a chart; empty for full precision
  std::optional<CellStorage> storage;
  std::vector<LayerError> layer_errors;  // empty: not measured
  std::vector<LinearInputs> inputs;      // empty: none are rounded, or not measured
  std::vector<ReportCell> cells;         // one per column of the model

  bool IsFull() const { return method == "full"; }
};

// A task by its subjects (MMLU): what each recipe has right in each, and what it lost of full precision's.
struct ReportSubjects {
  struct Row {
    size_t row = 0;  // of ReportModel::rows
    std::vector<SubsetComparison> subjects;
  };
  std::string task;
  std::vector<std::string> names;
  std::vector<Row> rows;  // those that were measured on it, full precision first
};

struct ReportModel {
  std::string name;     // unique in the report
  std::string finding;  // one sentence with units; empty without a quantized and a full-precision number
  std::vector<ReportColumn> columns;  // in the order they were measured
  std::vector<ReportRow> rows;        // full precision, then bits descending, method, coarse groups first
  std::vector<ReportSubjects> subjects = {};  // of tasks that have some
};

// What was used to make the numbers; several values when the rows differ.
struct ReportFact {
  std::string name;
  std::vector<std::string> values;
};

struct Report {
  std::string title;
  std::vector<ReportModel> models;  // in the order they were measured
  std::vector<ReportFact> facts;
  std::vector<std::string>
      remarks;                  // what a reader must know: cells that differ from what was asked, or in how
  size_t done = 0, failed = 0;  // cells shown
  std::vector<CellRow> rows;    // text made valid UTF-8

  const CellRow& Source(const ReportCell& cell) const { return rows.at(*cell.source); }
};

// Of several rows of one cell (run again by another version, say) the newest done one is shown, and a
// remark counts the others. An empty `title` becomes the names of the models.
// Throws Error{kContent} naming `path` when there are no rows.
Report BuildReport(std::vector<CellRow> rows, const std::string& title, const std::string& path);

}  // namespace lowbit
