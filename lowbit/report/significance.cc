// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/significance.h"

#include <algorithm>
#include <map>

namespace lowbit {
namespace {

// Number of the row, in Report::rows, that a recipe has in the column.
std::optional<size_t> SourceOf(const ReportRow& row, size_t column) {
  return row.cells[column].value ? row.cells[column].source : std::nullopt;
}

class Comparer {
 public:
  Comparer(ReportModel& model, const std::vector<CellRow>& rows, std::vector<std::string>& remarks)
      : model_(model), rows_(rows), remarks_(remarks) {}

  void Run() {
    const auto full = std::ranges::find_if(model_.rows, &ReportRow::IsFull);
    if (full == model_.rows.end()) return;
    for (ReportRow& row : model_.rows) {
      if (row.IsFull()) continue;
      for (size_t c = 0; c < model_.columns.size(); ++c) {
        const std::optional<size_t> a = SourceOf(*full, c), b = SourceOf(row, c);
        if (a && b) Fill(*row.cells[c].value, model_.columns[c].metric, Of(*a, *b));
      }
      AddDisagreement(row);
    }
    AddSubjects(*full);
  }

 private:
  // Each pair of cells once, whatever its metrics.
  const TaskComparison& Of(size_t a, size_t b) {
    const auto [found, is_new] = known_.try_emplace({a, b});
    if (!is_new) return found->second;
    try {
      found->second = CompareCells(rows_[a], rows_[b]);
    } catch (const Error& error) {
      remarks_.push_back(fmt::format("Not compared question by question: {}.", error.what()));
    }
    return found->second;
  }

  static void Fill(ReportValue& value, const std::string& metric, const TaskComparison& comparison) {
    for (const MetricComparison& m : comparison.metrics) {
      if (m.metric == metric) value.paired = m;
    }
  }

  // Quality and perplexity usually fall together. Where they do not, a reader should know before choosing.
  void AddDisagreement(const ReportRow& row) {
    std::string better, worse;
    for (size_t c = 0; c < model_.columns.size(); ++c) {
      const std::optional<ReportValue>& value = row.cells[c].value;
      const int verdict = value && value->paired ? value->paired->Verdict() : 0;
      if (verdict == 0) continue;
      std::string& list = verdict > 0 ? better : worse;
      list += (list.empty() ? "" : ", ") + model_.columns[c].label;
    }
    if (better.empty() || worse.empty()) return;
    remarks_.push_back(fmt::format("{}, {}: significantly better than full precision on {} but worse on {}.",
                                   model_.name, row.recipe, better, worse));
  }

  void AddSubjects(const ReportRow& full) {
    for (size_t c = 0; c < model_.columns.size(); ++c) {
      const std::optional<size_t> a = SourceOf(full, c);
      if (!a || model_.columns[c].metric != "acc") continue;
      ReportSubjects table{model_.columns[c].task, {}, {}};
      for (size_t r = 0; r < model_.rows.size(); ++r) {
        const std::optional<size_t> b = SourceOf(model_.rows[r], c);
        if (!b) continue;
        // Full precision against itself gives its own numbers.
        const TaskComparison& comparison = Of(*a, *b);
        if (comparison.subsets.empty()) continue;
        if (table.names.empty()) {
          for (const SubsetComparison& s : comparison.subsets) table.names.push_back(s.name);
        }
        table.rows.push_back({r, comparison.subsets});
      }
      if (!table.rows.empty()) model_.subjects.push_back(std::move(table));
    }
  }

  ReportModel& model_;
  const std::vector<CellRow>& rows_;
  std::vector<std::string>& remarks_;
  std::map<std::pair<size_t, size_t>, TaskComparison> known_;
};

}  // namespace

void AddComparisons(ReportModel& model, const std::vector<CellRow>& rows, std::vector<std::string>& remarks) {
  Comparer(model, rows, remarks).Run();
}

}  // namespace lowbit
