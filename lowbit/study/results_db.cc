// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/results_db.h"

#include <cmath>
#include <limits>
#include <set>
#include <utility>

#include "lowbit/base/files.h"
#include "lowbit/study/cell_outcomes.h"
#include "lowbit/study/layer_errors.h"
#include "lowbit/study/results_schema.h"
#include "lowbit/study/sqlite.h"

namespace lowbit {
namespace {

// The columns whose form differs from the row's: text for the status; the storage all three or none.
struct EncodedColumns {
  std::string status;
  std::optional<double> quantized_bpw, model_bpw;
  std::optional<uint64_t> model_bytes;
};

EncodedColumns Encode(const CellRow& row) {
  EncodedColumns columns;
  columns.status = row.status == CellStatus::kDone ? "done" : "failed";
  if (row.storage) {
    columns.quantized_bpw = row.storage->quantized_bpw;
    columns.model_bpw = row.storage->model_bpw;
    columns.model_bytes = row.storage->model_bytes;
  }
  return columns;
}

void Decode(const EncodedColumns& columns, CellRow& row) {
  row.status = columns.status == "done" ? CellStatus::kDone : CellStatus::kFailed;
  if (columns.quantized_bpw && columns.model_bpw && columns.model_bytes) {
    row.storage = CellStorage{*columns.quantized_bpw, *columns.model_bpw, *columns.model_bytes};
  }
}

// The columns of `cells` but its id, each with its place in the row: what is written, what is read and
// in which order is said here once.
template <class Row, class Encoded, class Visitor>
void VisitColumns(int64_t version, Row& row, Encoded& encoded, Visitor&& visit) {
  visit("key", row.key);
  visit("model", row.model);
  visit("model_folder", row.model_folder);
  visit("recipe", row.recipe);
  visit("method", row.method);
  visit("weight_bits", row.weight_bits);
  visit("group_size", row.group_size);
  visit("symmetric", row.symmetric);
  visit("task", row.task);
  visit("protocol", row.protocol);
  visit("status", encoded.status);
  visit("error_kind", row.error_kind);
  visit("error", row.error);
  visit("notes", row.notes);
  visit("quantized_bpw", encoded.quantized_bpw);
  visit("model_bpw", encoded.model_bpw);
  visit("model_bytes", encoded.model_bytes);
  visit("weights_hash", row.provenance.weights_hash);
  visit("tokenizer_hash", row.provenance.tokenizer_hash);
  visit("text_hash", row.provenance.text_hash);
  visit("recipe_hash", row.provenance.recipe_hash);
  visit("code_version", row.provenance.code_version);
  visit("compute_type", row.provenance.compute_type);
  visit("isa", row.provenance.isa);
  visit("cpu", row.provenance.cpu);
  visit("cores", row.provenance.cores);
  visit("threads", row.provenance.threads);
  visit("quantize_seconds", row.provenance.quantize_seconds);
  if (version >= kSharedTimeSince) {
    visit("shared_seconds", row.provenance.shared_seconds);
    visit("shared_by", row.provenance.shared_by);
  }
  visit("eval_seconds", row.provenance.eval_seconds);
  visit("peak_bytes", row.provenance.peak_bytes);
  visit("started", row.provenance.started);
}

struct ColumnLists {
  std::string names, marks;  // "key, model, …" and "?, ?, …"
};

ColumnLists Columns(int64_t version) {
  CellRow row;
  EncodedColumns encoded;
  ColumnLists lists;
  VisitColumns(version, row, encoded, [&lists](const char* name, const auto&) {
    const char* comma = lists.names.empty() ? "" : ", ";
    lists.names += std::string(comma) + name;
    lists.marks += std::string(comma) + "?";
  });
  return lists;
}

bool FitsSqlite(uint64_t value) {
  return value <= uint64_t{std::numeric_limits<int64_t>::max()};
}

// Why `row` cannot be a row, in words; empty when it can.
std::string Contradiction(const CellRow& row) {
  if (row.key.empty() || row.model.empty() || row.recipe.empty() || row.method.empty() || row.task.empty()) {
    return "key, model, recipe, method and task must not be empty";
  }
  if (row.weight_bits < 1 || row.weight_bits > 32) return fmt::format("{} bits per weight", row.weight_bits);
  const bool done = row.status == CellStatus::kDone;
  if (done != row.error.empty() || done != row.error_kind.empty()) return "an error belongs to a failed cell";
  if (done == row.metrics.empty()) return "metrics belong to a done cell";
  if (done && !row.storage.has_value()) return "a done cell says what the model takes";
  if (row.storage && row.storage->model_bytes == 0) return "a model of 0 bytes";
  const CellProvenance& p = row.provenance;
  if (p.shared_seconds.has_value() != p.shared_by.has_value() || p.shared_by.value_or(1) == 0) {
    return "shared time belongs to one recipe or more";
  }
  std::set<std::string_view> names;
  for (const Metric& metric : row.metrics) {
    if (metric.name.empty() || !names.insert(metric.name).second) return "metrics need names of their own";
    if (!FitsSqlite(metric.n)) return "n beyond 2^63";
  }
  if (!FitsSqlite(row.group_size) || (row.storage && !FitsSqlite(row.storage->model_bytes)) ||
      !FitsSqlite(row.provenance.peak_bytes.value_or(0))) {
    return "a number beyond 2^63";
  }
  return "";
}

}  // namespace

std::string BadNumberIn(const CellRow& row) {
  const auto bad = [](double value) { return !std::isfinite(value) || value < 0; };
  for (const Metric& metric : row.metrics) {
    if (!std::isfinite(metric.value)) return fmt::format("{} is {}", metric.name, metric.value);
    if (bad(metric.standard_error.value_or(0))) {
      return fmt::format("the standard error of {} is {}", metric.name, *metric.standard_error);
    }
  }
  if (const std::string errors = BadLayerErrors(row.layer_errors); !errors.empty()) return errors;
  if (const std::string inputs = BadInputs(row.inputs); !inputs.empty()) return inputs;
  if (const std::string outcomes = BadOutcomes(row.outcomes); !outcomes.empty()) return outcomes;
  if (row.storage) {
    for (const double bpw : {row.storage->quantized_bpw, row.storage->model_bpw}) {
      if (bad(bpw) || bpw == 0) return fmt::format("bits per weight is {}", bpw);
    }
  }
  for (const std::optional<double>& seconds :
       {row.provenance.quantize_seconds, row.provenance.shared_seconds, row.provenance.eval_seconds}) {
    if (bad(seconds.value_or(0))) return fmt::format("time is {} s", *seconds);
  }
  return "";
}

struct ResultsDb::Impl {
  explicit Impl(const std::string& path) : file(path, SQLITE_OPEN_READWRITE, kMaxValueBytes) {}
  SqliteFile file;
  int64_t version = kSchemaVersion;  // of its tables; an older one is only read

  // The rows that `where` selects, with `key` as its parameter if there is one, as of one instant.
  std::vector<CellRow> Read(const std::string& where, std::optional<std::string_view> key);
};

ResultsDb::ResultsDb(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ResultsDb::ResultsDb(ResultsDb&&) noexcept = default;
ResultsDb& ResultsDb::operator=(ResultsDb&&) noexcept = default;
ResultsDb::~ResultsDb() = default;

ResultsDb ResultsDb::Open(const std::string& path, Mode mode, std::chrono::milliseconds patience) {
  if (!CheckResultsFile(path, mode == Mode::kRead)) CreateResultsFile(path);
  // A reader opens for writing too, where it may: it must roll back what a killed writer left half done.
  auto impl = std::make_unique<Impl>(path);
  SqliteFile& file = impl->file;
  file.SetPatience(patience);
  impl->version = CheckSchema(file);
  if (mode == Mode::kRead) {
    file.Run("PRAGMA query_only = ON");
  } else {
    if (file.IsReadOnly()) throw WriteError(path, "is read-only, expected to write");
    file.Run("PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL");
    if (impl->version < kSchemaVersion) UpgradeSchema(file);
    impl->version = kSchemaVersion;
    file.Run("PRAGMA foreign_keys = ON");
  }
  return ResultsDb(std::move(impl));
}

const std::string& ResultsDb::path() const {
  return impl_->file.path();
}

void ResultsDb::Put(const CellRow& row) {
  SqliteFile& file = impl_->file;
  const Place place =
      Place(file.path()).Item(fmt::format("cell '{}, {}, {}'", row.model, row.recipe, row.task));
  if (const std::string bad = BadNumberIn(row); !bad.empty()) throw Error(ErrorKind::kNumeric, place, bad);
  if (const std::string bad = Contradiction(row); !bad.empty()) throw Error(ErrorKind::kInternal, place, bad);
  const EncodedColumns encoded = Encode(row);
  const ColumnLists columns = Columns(kSchemaVersion);

  SqliteTransaction transaction(file, SqliteTransaction::Kind::kWrite);
  SqliteStatement(file, "DELETE FROM cells WHERE key = ? AND status = 'failed'").Bind(row.key).Step();
  SqliteStatement existing(file, "SELECT 1 FROM cells WHERE key = ?");
  if (existing.Bind(row.key).Step()) throw Error(ErrorKind::kConflict, place, "is already done");
  SqliteStatement insert(file,
                         fmt::format("INSERT INTO cells ({}) VALUES ({})", columns.names, columns.marks));
  VisitColumns(kSchemaVersion, row, encoded,
               [&insert](const char*, const auto& value) { insert.Bind(value); });
  insert.Step();
  const int64_t cell = sqlite3_last_insert_rowid(file.handle());

  SqliteStatement metrics(file, "INSERT INTO metrics VALUES (?, ?, ?, ?, ?, ?, ?)");
  for (size_t i = 0; i < row.metrics.size(); ++i) {
    const Metric& m = row.metrics[i];
    metrics.Reset();
    metrics.Bind(cell).Bind(uint64_t{i}).Bind(m.name).Bind(m.value).Bind(m.standard_error).Bind(m.n);
    metrics.Bind(m.higher_is_better).Step();
  }
  PutLayerErrors(file, cell, row.layer_errors);
  PutInputs(file, cell, row.inputs);
  PutOutcomes(file, cell, row.outcomes);
  transaction.Commit();
}

std::vector<CellRow> ResultsDb::Impl::Read(const std::string& where, std::optional<std::string_view> key) {
  SqliteTransaction snapshot(file, SqliteTransaction::Kind::kSnapshot);
  SqliteStatement cells(file, fmt::format("SELECT {}, id FROM cells {}", Columns(version).names, where));
  SqliteStatement metrics(file, R"(SELECT name, value, stderr, n, higher_is_better FROM metrics
                                   WHERE cell_id = ? ORDER BY position)");
  if (key) cells.Bind(*key);
  std::vector<CellRow> rows;
  while (cells.Step()) {
    CellRow& row = rows.emplace_back();
    EncodedColumns encoded;
    VisitColumns(version, row, encoded, [&cells](const char*, auto& value) { cells.Get(value); });
    Decode(encoded, row);
    int64_t id = 0;
    cells.Get(id);

    metrics.Reset();
    metrics.Bind(id);
    while (metrics.Step()) {
      Metric& m = row.metrics.emplace_back();
      metrics.Get(m.name);
      metrics.Get(m.value);
      metrics.Get(m.standard_error);
      metrics.Get(m.n);
      metrics.Get(m.higher_is_better);
    }
    if (version >= kLayerErrorsSince) row.layer_errors = ReadLayerErrors(file, id);
    if (version >= kInputsSince) row.inputs = ReadInputs(file, id);
    if (version >= kOutcomesSince) row.outcomes = ReadOutcomes(file, id);
    // What a CHECK cannot say (across two tables, about infinity) is said here.
    std::string bad = BadNumberIn(row);
    if (bad.empty()) bad = Contradiction(row);
    if (!bad.empty()) {
      throw Error(ErrorKind::kContent, Place(file.path()).Item(fmt::format("cells row {}", id)), bad);
    }
  }
  return rows;
}

std::optional<CellRow> ResultsDb::Find(std::string_view key) const {
  std::vector<CellRow> rows = impl_->Read("WHERE key = ?", key);
  if (rows.empty()) return std::nullopt;
  return std::move(rows.front());
}

std::vector<CellRow> ResultsDb::All() const {
  return impl_->Read("ORDER BY id", std::nullopt);
}

}  // namespace lowbit
