// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/report.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "lowbit/base/utf8.h"
#include "lowbit/report/facts.h"
#include "lowbit/report/finding.h"
#include "lowbit/report/significance.h"

namespace lowbit {
namespace {

// JSON and HTML must be UTF-8; a folder's name need not be.
void MakeValidUtf8(CellRow& row) {
  CellProvenance& p = row.provenance;
  for (std::string* text :
       {&row.key, &row.model, &row.model_folder, &row.recipe, &row.method, &row.task, &row.protocol,
        &row.error_kind, &row.error, &row.notes, &p.weights_hash, &p.tokenizer_hash, &p.text_hash,
        &p.recipe_hash, &p.code_version, &p.compute_type, &p.isa, &p.cpu, &p.started}) {
    *text = ReplaceInvalidUtf8(*text);
  }
  for (Metric& metric : row.metrics) metric.name = ReplaceInvalidUtf8(metric.name);
  for (LayerError& error : row.layer_errors) error.part = ReplaceInvalidUtf8(error.part);
  for (LinearInputs& inputs : row.inputs) inputs.linear = ReplaceInvalidUtf8(inputs.linear);
  for (Answer& answer : row.outcomes.answers) answer.subset = ReplaceInvalidUtf8(answer.subset);
}

std::string Grouping(const CellRow& row) {
  if (row.method == "full") return "";
  return row.group_size == 0 ? "channel" : fmt::format("g{}", row.group_size);
}

// Bits that a row is compared at: those of its name, or the whole ones that it stores where scales and planes come to
// more. Not what papers count: BiLLM's one bit stores 2.88.
uint32_t CountedBits(const CellRow& row) {
  if (row.method == "full" || !row.storage) return row.weight_bits;
  return std::max(row.weight_bits, static_cast<uint32_t>(row.storage->quantized_bpw));
}

// "awq+gptq", " a8": of a recipe "awq+gptq-w4a8-g64" how it begins, and the bits of activations where it has some.
std::pair<std::string, std::string> MethodAndInputs(const CellRow& row) {
  const std::string main = row.recipe.substr(0, row.recipe.find(':'));
  const size_t bits = main.find("-w");
  if (bits == std::string::npos) return {row.method, ""};
  const size_t end = std::min(main.find('-', bits + 1), main.size()), inputs = main.find('a', bits);
  return {main.substr(0, bits), inputs < end ? " " + main.substr(inputs, end - inputs) : ""};
}

// "rtn g128", "rtn channel sym", "gptq a8 g64", "rtn g64 head=w8-g64": what a line of a chart keeps fixed.
std::string Series(const CellRow& row) {
  if (row.method == "full") return "";
  const auto [method, inputs] = MethodAndInputs(row);
  std::string series = method + inputs + " " + Grouping(row);
  if (row.symmetric) series += " sym";
  if (const size_t colon = row.recipe.find(':'); colon != std::string::npos) {
    series += " " + row.recipe.substr(colon + 1);
  }
  return series;
}

// What people call a metric; its own name where nothing else is said.
struct MetricText {
  std::string_view metric, name, unit;
  bool compares_models = false;
};

constexpr MetricText kMetricTexts[] = {{"kl_mean", "KL mean", "nats", true},
                                       {"kl_median", "KL median", "nats", true},
                                       {"kl_p99", "KL 99 %", "nats", true},
                                       {"top1_agreement", "top-1 agreement", "", true}};

ReportColumn Column(const CellRow& row, const Metric& metric) {
  ReportColumn column{row.task, row.protocol, metric.name, metric.higher_is_better,
                      "",       metric.name,  "",          false};
  for (const MetricText& text : kMetricTexts) {
    if (text.metric != metric.name) continue;
    column.name = text.name;
    column.unit = text.unit;
    column.compares_models = text.compares_models;
  }
  return column;
}

bool HasMetric(const CellRow& row, const std::string& name) {
  return std::ranges::find(row.metrics, name, &Metric::name) != row.metrics.end();
}

// Two folders, or two states of one folder, are two models, whatever they are called. Rows that failed
// before the weights were hashed join the last known state of their folder.
using ModelId = std::tuple<std::string, std::string, std::string>;  // name, folder, weights hash

ModelId Identify(const CellRow& row, const std::vector<CellRow>& rows) {
  if (!row.provenance.weights_hash.empty()) return {row.model, row.model_folder, row.provenance.weights_hash};
  std::string last_known;
  for (const CellRow& other : rows) {
    if (other.model != row.model || other.model_folder != row.model_folder) continue;
    if (!other.provenance.weights_hash.empty()) last_known = other.provenance.weights_hash;
  }
  return {row.model, row.model_folder, last_known};
}

// The name, and where another model has it too, what tells them apart.
std::string UniqueName(const ModelId& id, const std::vector<ModelId>& all) {
  const auto& [name, folder, hash] = id;
  bool same_name = false, same_folder = false;
  for (const auto& [other_name, other_folder, other_hash] : all) {
    if (other_name != name) continue;
    same_name |= other_folder != folder;
    same_folder |= other_folder == folder && other_hash != hash;
  }
  std::string unique = name;
  if (same_name) unique += " (" + folder + ")";
  if (same_folder) unique += " (weights " + (hash.empty() ? "unknown" : hash.substr(0, 8)) + ")";
  return unique;
}

// Which of several rows of one cell is shown: the newest done one, else the newest.
// `cells` are row numbers in the order of their Put().
size_t Preferred(const std::vector<size_t>& cells, const std::vector<CellRow>& rows) {
  for (auto it = cells.rbegin(); it != cells.rend(); ++it) {
    if (rows[*it].status == CellStatus::kDone) return *it;
  }
  return cells.back();
}

class ModelBuilder {
 public:
  ModelBuilder(const std::vector<CellRow>& rows, std::string name) : rows_(rows) {
    model_.name = std::move(name);
  }

  void Add(size_t row) {
    const CellRow& r = rows_[row];
    cells_[{r.recipe, r.task, r.protocol}].push_back(row);
  }

  ReportModel Build() {
    for (const auto& [id, cells] : cells_) {
      chosen_[id] = Preferred(cells, rows_);
      hidden_ += cells.size() - 1;
    }
    AddColumns();
    AddRows();
    CountHidden();
    Compare();
    return std::move(model_);
  }
  size_t hidden() const { return hidden_; }

 private:
  using CellId = std::tuple<std::string, std::string, std::string>;  // recipe, task, protocol

  // Row numbers in use, in the order they were measured.
  std::vector<size_t> Chosen() const {
    std::vector<size_t> rows;
    for (const auto& [id, row] : chosen_) rows.push_back(row);
    std::sort(rows.begin(), rows.end());
    return rows;
  }

  bool HasColumn(const CellRow& row) const {
    return std::any_of(model_.columns.begin(), model_.columns.end(), [&row](const ReportColumn& c) {
      return c.task == row.task && c.protocol == row.protocol;
    });
  }

  // A failed cell often does not know the whole text of its protocol: if no done one had the same, it
  // belongs to all columns of its task.
  bool Belongs(const CellRow& row, const ReportColumn& column) const {
    if (column.task != row.task) return false;
    return column.protocol == row.protocol || (row.status == CellStatus::kFailed && !HasColumn(row));
  }

  void AddColumns() {
    for (const size_t i : Chosen()) {
      const CellRow& row = rows_[i];
      for (const Metric& m : row.metrics) {
        const bool known =
            std::any_of(model_.columns.begin(), model_.columns.end(), [&](const ReportColumn& c) {
              return c.task == row.task && c.protocol == row.protocol && c.metric == m.name;
            });
        if (!known) model_.columns.push_back(Column(row, m));
      }
    }
    for (const size_t i : Chosen()) {  // a task of which every cell failed
      const CellRow& row = rows_[i];
      const bool known = std::any_of(model_.columns.begin(), model_.columns.end(),
                                     [&row](const ReportColumn& c) { return c.task == row.task; });
      if (!known) model_.columns.push_back({row.task, row.protocol, "", false, "", "", "", false});
    }
    AddLabels();
  }

  void AddLabels() {
    std::map<std::string, int> used;
    for (ReportColumn& c : model_.columns) {
      const std::string label = c.metric.empty() || c.metric == c.task ? c.task : c.task + " " + c.name;
      const int times = ++used[label];
      c.label = times == 1 ? label : fmt::format("{} (protocol {})", label, times);
    }
  }

  void AddRows() {
    std::map<std::string, size_t> by_recipe;
    for (const size_t i : Chosen()) {
      const CellRow& row = rows_[i];
      const auto [it, fresh] = by_recipe.try_emplace(row.recipe, model_.rows.size());
      if (fresh) model_.rows.push_back(NewRow(row));
      ReportRow& out = model_.rows[it->second];
      if (row.storage) out.storage = row.storage;
      if (!row.layer_errors.empty()) out.layer_errors = row.layer_errors;
      if (!row.inputs.empty()) out.inputs = row.inputs;
      for (size_t c = 0; c < model_.columns.size(); ++c) {
        const ReportColumn& column = model_.columns[c];
        // A done cell without this metric was not asked for it: full precision is not compared with itself.
        const bool lacks = row.status == CellStatus::kDone && !HasMetric(row, column.metric);
        if (Belongs(row, column) && !lacks && !out.cells[c].value) out.cells[c] = Cell(i, column);
      }
    }
    const auto order = [](const ReportRow& row) {
      // 0 = one group per row is the coarsest: it comes before any group size; then large groups first.
      const uint64_t fineness = row.group_size == 0 ? 0 : ~row.group_size;
      return std::tuple(!row.IsFull(), -static_cast<int>(row.bits), row.method, fineness, row.symmetric,
                        row.recipe);
    };
    std::sort(model_.rows.begin(), model_.rows.end(),
              [&order](const ReportRow& a, const ReportRow& b) { return order(a) < order(b); });
  }

  // Chosen rows that no cell shows: they failed under a protocol whose text is not that of the done cell.
  void CountHidden() {
    std::set<size_t> shown;
    for (const ReportRow& row : model_.rows) {
      for (const ReportCell& cell : row.cells) {
        if (cell.source) shown.insert(*cell.source);
      }
    }
    hidden_ += chosen_.size() - shown.size();
  }

  ReportRow NewRow(const CellRow& row) const {
    ReportRow out;
    out.recipe = row.recipe;
    out.method = row.method;
    out.bits = CountedBits(row);
    out.group_size = row.group_size;
    out.symmetric = row.symmetric;
    out.grouping = Grouping(row);
    out.series = Series(row);
    out.cells.resize(model_.columns.size());
    return out;
  }

  ReportCell Cell(size_t row, const ReportColumn& column) const {
    ReportCell cell{row, std::nullopt};
    for (const Metric& m : rows_[row].metrics) {
      if (m.name != column.metric) continue;
      cell.value = ReportValue{m.value, m.standard_error, m.n, std::nullopt, std::nullopt};
    }
    return cell;
  }

  // Differences to full precision, and the best of each number of bits.
  void Compare() {
    for (size_t c = 0; c < model_.columns.size(); ++c) {
      const bool higher = model_.columns[c].higher_is_better;
      std::optional<double> full;
      std::map<uint32_t, std::vector<ReportValue*>> by_bits;
      for (ReportRow& row : model_.rows) {  // full precision comes first
        if (!row.cells[c].value) continue;
        ReportValue& value = *row.cells[c].value;
        if (row.IsFull()) {
          full = value.value;
          continue;
        }
        by_bits[row.bits].push_back(&value);
        if (!full) continue;
        value.delta = value.value - *full;
        if (*full != 0) value.relative = *value.delta / std::abs(*full);
      }
      for (const auto& [bits, values] : by_bits) {
        if (values.size() < 2) continue;
        const auto better = [higher](const ReportValue* a, const ReportValue* b) {
          return higher ? a->value > b->value : a->value < b->value;
        };
        const double best = (*std::min_element(values.begin(), values.end(), better))->value;
        for (ReportValue* value : values) value->best = value->value == best;
      }
    }
  }

  const std::vector<CellRow>& rows_;
  ReportModel model_;
  std::map<CellId, std::vector<size_t>> cells_;
  std::map<CellId, size_t> chosen_;
  size_t hidden_ = 0;
};

std::string DefaultTitle(const std::vector<ReportModel>& models) {
  std::vector<std::string> names;
  for (const ReportModel& model : models) names.push_back(model.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

std::string ReportColumn::Direction() const {
  if (metric.empty()) return "";
  return unit + (unit.empty() ? "" : ", ") + (higher_is_better ? "higher is better" : "lower is better");
}

Report BuildReport(std::vector<CellRow> rows, const std::string& title, const std::string& path) {
  if (rows.empty()) {
    throw Error(ErrorKind::kContent, Place(path), "has no results yet, expected at least one cell")
        .Hint("run the study first");
  }
  Report report;
  report.rows = std::move(rows);
  for (CellRow& row : report.rows) MakeValidUtf8(row);

  std::vector<ModelId> ids;  // in the order of their first row
  std::map<ModelId, std::vector<size_t>> members;
  for (size_t i = 0; i < report.rows.size(); ++i) {
    const ModelId id = Identify(report.rows[i], report.rows);
    if (members[id].empty()) ids.push_back(id);
    members[id].push_back(i);
  }
  size_t hidden = 0;
  for (const ModelId& id : ids) {
    ModelBuilder builder(report.rows, UniqueName(id, ids));
    for (const size_t row : members[id]) builder.Add(row);
    report.models.push_back(builder.Build());
    AddComparisons(report.models.back(), report.rows, report.remarks);
    report.models.back().finding = Finding(report.models.back());
    hidden += builder.hidden();
  }
  report.title = title.empty() ? DefaultTitle(report.models) : ReplaceInvalidUtf8(title);
  AddFacts(report, hidden);
  return report;
}

}  // namespace lowbit
