// SPDX-License-Identifier: Apache-2.0
#include "lowbit/report/facts.h"

#include <algorithm>
#include <functional>
#include <set>

#include <fmt/ranges.h>

#include "lowbit/base/human.h"

namespace lowbit {
namespace {

using Rows = std::vector<const CellRow*>;

// The rows behind the cells shown, each once, in the order they were measured.
Rows ShownRows(const Report& report) {
  std::set<size_t> shown;
  for (const ReportModel& model : report.models) {
    for (const ReportRow& row : model.rows) {
      for (const ReportCell& cell : row.cells) {
        if (cell.source) shown.insert(*cell.source);
      }
    }
  }
  Rows rows;
  for (const size_t i : shown) rows.push_back(&report.rows[i]);
  return rows;
}

// The distinct texts that `field` gives, in order, without empty ones.
std::vector<std::string> Distinct(const Rows& rows, const std::function<std::string(const CellRow&)>& field) {
  std::vector<std::string> values;
  for (const CellRow* row : rows) {
    const std::string value = field(*row);
    if (!value.empty() && std::find(values.begin(), values.end(), value) == values.end())
      values.push_back(value);
  }
  return values;
}

void AddFact(Report& report, std::string name, std::vector<std::string> values) {
  if (!values.empty()) report.facts.push_back({std::move(name), std::move(values)});
}

std::string Hashed(const std::string& name, const std::string& hash) {
  return hash.empty() ? "" : name + ": " + hash;
}

std::string Machine(const CellRow& row) {
  const CellProvenance& p = row.provenance;
  if (p.cpu.empty()) return "";
  return p.cores == 0 ? p.cpu : fmt::format("{}, {} core{}", p.cpu, p.cores, p.cores == 1 ? "" : "s");
}

// "2026-01-31 12:34" of "2026-01-31T12:34:56Z"; anything else as it is.
std::string ToMinute(std::string time) {
  if (time.size() != 20 || time[10] != 'T') return time;
  time[10] = ' ';
  return time.substr(0, 16);
}

std::string Period(const Rows& rows) {
  const std::vector<std::string> times =
      Distinct(rows, [](const CellRow& r) { return r.provenance.started; });
  if (times.empty()) return "";
  const auto [first, last] = std::minmax_element(times.begin(), times.end());  // ISO 8601 sorts as text
  return *first == *last ? ToMinute(*first) : ToMinute(*first) + " to " + ToMinute(*last);
}

void AddCosts(Report& report, const Rows& rows) {
  double quantize = 0, eval = 0;
  uint64_t peak = 0;
  for (const CellRow* row : rows) {
    const CellProvenance& p = row->provenance;
    quantize += p.quantize_seconds.value_or(0);
    if (p.shared_seconds) quantize += *p.shared_seconds / *p.shared_by;  // its share: each of them has a row
    eval += p.eval_seconds.value_or(0);
    peak = std::max(peak, p.peak_bytes.value_or(0));
  }
  if (quantize > 0 || eval > 0) {
    AddFact(report, "Time spent",
            {fmt::format("{} quantizing, {} evaluating", HumanSeconds(quantize), HumanSeconds(eval))});
  }
  if (peak > 0) AddFact(report, "Peak memory", {HumanBytes(peak)});
}

void AddProvenance(Report& report, const Rows& rows) {
  using P = CellProvenance;
  const auto of = [&rows](std::string P::*field) {
    return Distinct(rows, [field](const CellRow& r) { return r.provenance.*field; });
  };
  const auto hashes = [&rows](std::string CellRow::*name, std::string P::*hash) {
    return Distinct(rows, [=](const CellRow& r) { return Hashed(r.*name, r.provenance.*hash); });
  };
  AddFact(report, "Model folder", Distinct(rows, [](const CellRow& r) { return r.model_folder; }));
  AddFact(report, "Code", of(&P::code_version));
  AddFact(report, "Arithmetic", of(&P::compute_type));
  AddFact(report, "Instruction set", of(&P::isa));
  AddFact(report, "Machine", Distinct(rows, Machine));
  AddFact(report, "Threads", Distinct(rows, [](const CellRow& r) {
            return r.provenance.threads == 0 ? "" : fmt::format("{}", r.provenance.threads);
          }));
  AddFact(report, "Started (UTC)", {Period(rows)});
  AddCosts(report, rows);
  AddFact(report, "Weights SHA-256", hashes(&CellRow::model, &P::weights_hash));
  AddFact(report, "Tokenizer SHA-256", hashes(&CellRow::model, &P::tokenizer_hash));
  AddFact(report, "Text SHA-256", hashes(&CellRow::task, &P::text_hash));
  std::erase_if(report.facts, [](const ReportFact& f) { return f.values.front().empty(); });
}

// Numbers that were not made in the same way can differ for that reason alone.
void AddDifferences(Report& report) {
  for (const ReportFact& fact : report.facts) {
    if (fact.values.size() < 2) continue;
    if (fact.name == "Code" || fact.name == "Arithmetic" || fact.name == "Instruction set") {
      report.remarks.push_back(
          fmt::format("{}: the rows were made with {} different ones ({}); small differences "
                      "between them may come from that alone.",
                      fact.name, fact.values.size(), fmt::join(fact.values, ", ")));
    }
  }
}

void AddNotes(Report& report, const Rows& rows) {
  for (const CellRow* row : rows) {
    for (size_t begin = 0; begin < row->notes.size();) {
      const size_t end = std::min(row->notes.find('\n', begin), row->notes.size());
      if (end > begin) {
        report.remarks.push_back(fmt::format("{}, {}, {}: {}", row->model, row->recipe, row->task,
                                             row->notes.substr(begin, end - begin)));
      }
      begin = end + 1;
    }
  }
}

}  // namespace

void AddFacts(Report& report, size_t hidden) {
  const Rows rows = ShownRows(report);
  report.done = static_cast<size_t>(std::count_if(
      rows.begin(), rows.end(), [](const CellRow* row) { return row->status == CellStatus::kDone; }));
  report.failed = rows.size() - report.done;
  AddProvenance(report, rows);
  AddDifferences(report);
  if (hidden > 0) {
    report.remarks.push_back(
        fmt::format("{} other row{} of cells that were run again {} in results.db but not here.", hidden,
                    hidden == 1 ? "" : "s", hidden == 1 ? "is" : "are"));
  }
  AddNotes(report, rows);
}

}  // namespace lowbit
