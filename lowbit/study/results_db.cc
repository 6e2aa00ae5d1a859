// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/results_db.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <set>
#include <utility>

#include "lowbit/base/files.h"
#include "lowbit/study/layer_errors.h"
#include "lowbit/study/sqlite.h"

namespace lowbit {
namespace fs = std::filesystem;

namespace {

constexpr int64_t kApplicationId = 0x4C4F5742;  // "LOWB"
constexpr int64_t kSchemaVersion = 2;           // change it with every change of the tables below

constexpr int kMinFileBytes = 512;  // SQLite's smallest page

// Our own rows stay far below; a longer value comes from another hand.
constexpr int kMaxValueBytes = 16 << 20;

// The tables are compared with these texts when a file is opened, character by character.
constexpr const char* kCellsTableBegin = R"(CREATE TABLE cells (
  id INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE CHECK (key <> ''),
  model TEXT NOT NULL CHECK (model <> ''),
  model_folder TEXT NOT NULL,
  recipe TEXT NOT NULL CHECK (recipe <> ''),
  method TEXT NOT NULL CHECK (method <> ''),
  weight_bits INTEGER NOT NULL CHECK (weight_bits BETWEEN 1 AND 32),
  group_size INTEGER NOT NULL CHECK (group_size >= 0),
  symmetric INTEGER NOT NULL CHECK (symmetric IN (0, 1)),
  task TEXT NOT NULL CHECK (task <> ''),
  protocol TEXT NOT NULL,
  status TEXT NOT NULL CHECK (status IN ('done', 'failed')),
  error_kind TEXT NOT NULL,
  error TEXT NOT NULL CHECK ((error <> '') = (status = 'failed')),
  notes TEXT NOT NULL,
  quantized_bpw REAL CHECK (quantized_bpw > 0),
  model_bpw REAL CHECK (model_bpw > 0),
  model_bytes INTEGER CHECK (model_bytes > 0),
  weights_hash TEXT NOT NULL,
  tokenizer_hash TEXT NOT NULL,
  text_hash TEXT NOT NULL,
  recipe_hash TEXT NOT NULL,
  code_version TEXT NOT NULL,
  compute_type TEXT NOT NULL,
  isa TEXT NOT NULL,
  cpu TEXT NOT NULL,
  cores INTEGER NOT NULL CHECK (cores BETWEEN 0 AND 4294967295),
  threads INTEGER NOT NULL CHECK (threads BETWEEN 0 AND 4294967295),
  quantize_seconds REAL CHECK (quantize_seconds >= 0),
)";

constexpr const char* kCellsTableSince2 = R"(  shared_seconds REAL CHECK (shared_seconds >= 0),
  shared_by INTEGER CHECK (shared_by BETWEEN 1 AND 4294967295),
)";

constexpr const char* kCellsTableEnd = R"(  eval_seconds REAL CHECK (eval_seconds >= 0),
  peak_bytes INTEGER CHECK (peak_bytes >= 0),
  started TEXT NOT NULL
) STRICT)";

std::string CellsTable(int64_t version) {
  return std::string(kCellsTableBegin) + (version >= 2 ? kCellsTableSince2 : "") + kCellsTableEnd;
}

constexpr const char* kMetricsTable = R"(CREATE TABLE metrics (
  cell_id INTEGER NOT NULL REFERENCES cells (id) ON DELETE CASCADE,
  position INTEGER NOT NULL,
  name TEXT NOT NULL CHECK (name <> ''),
  value REAL NOT NULL,
  stderr REAL CHECK (stderr >= 0),
  n INTEGER NOT NULL CHECK (n >= 0),
  higher_is_better INTEGER NOT NULL CHECK (higher_is_better IN (0, 1)),
  PRIMARY KEY (cell_id, position),
  UNIQUE (cell_id, name)
) STRICT)";

// For people with the sqlite3 shell; lowbit itself never reads it.
constexpr const char* kTableView = R"(CREATE VIEW table_view AS
SELECT c.model, c.recipe, c.weight_bits AS bits, c.method,
       CASE WHEN c.method = 'full' THEN '' WHEN c.group_size = 0 THEN 'channel'
            ELSE 'g' || c.group_size END AS grouping,
       c.task, m.name AS metric, m.value, m.stderr, m.n,
       round(c.quantized_bpw, 3) AS bpw, c.model_bytes, c.status, c.error
FROM cells AS c LEFT JOIN metrics AS m ON m.cell_id = c.id
ORDER BY c.model, c.task, c.method <> 'full', c.weight_bits DESC, c.method, c.group_size, c.id, m.position)";

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
  if (version >= 2) {
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

// Builds an empty database beside `path` and links it into place: no other process ever sees a file
// without tables, and of two processes that create at the same time neither replaces the other's rows.
void Create(const std::string& path) {
  static std::atomic<int> counter{0};
  const fs::path target(path);
  // The form of AtomicFile's temporaries, so that RemoveStaleTemporaries() finds what a kill left.
  const std::string name = fmt::format(".{}-{}.{}.tmp", target.filename().string(), counter++, getpid());
  const std::string temp = (target.parent_path() / name).string();
  const struct Cleanup {
    const std::string& file;
    ~Cleanup() { unlink(file.c_str()); }
  } cleanup{temp};
  try {
    SqliteFile file(temp, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, kMaxValueBytes);
    file.Run("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = FULL");
    SqliteTransaction transaction(file, SqliteTransaction::Kind::kWrite);
    for (const std::string& sql : {CellsTable(kSchemaVersion), std::string(kMetricsTable),
                                   std::string(kLayerErrorsTable), std::string(kTableView)})
      file.Run(sql);
    file.Run(fmt::format("PRAGMA application_id = {}", kApplicationId));
    file.Run(fmt::format("PRAGMA user_version = {}", kSchemaVersion));
    transaction.Commit();
  } catch (const Error& error) {
    throw WriteError(path, fmt::format("cannot create: {}", error.message()));
  }
  // SQLite syncs the folder for the first row's journal; before that there is nothing to lose.
  if (link(temp.c_str(), path.c_str()) == 0 || errno == EEXIST) return;
  if (rename(temp.c_str(), path.c_str()) == 0) return;  // a file system without hard links
  throw WriteError::Of(path, "create", errno);
}

// What a look at the file, before SQLite touches it, can refuse. Returns whether there is a file.
bool CheckFile(const std::string& path, ResultsDb::Mode mode) {
  const Place place(path);
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT && mode == ResultsDb::Mode::kWrite && !path.empty()) return false;
    throw Error(ErrorKind::kMissing, place, fmt::format("cannot open: {}", std::strerror(errno)));
  }
  if (S_ISDIR(info.st_mode)) {
    throw Error(ErrorKind::kConflict, place, "is a folder, expected a results database");
  }
  if (!S_ISREG(info.st_mode)) {
    throw Error(ErrorKind::kMissing, place, "not a regular file, expected a results database");
  }
  if (info.st_size < kMinFileBytes) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("has {} bytes, expected a results database of at least {}",
                            static_cast<int64_t>(info.st_size), kMinFileBytes))
        .Hint("lowbit never leaves a file without tables: something else cut or made this one");
  }
  return true;
}

void CheckTable(const SqliteFile& file, const char* name, std::string_view expected) {
  SqliteStatement statement(file, "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?");
  statement.Bind(name);
  std::string sql;
  if (statement.Step()) statement.Get(sql);
  if (sql == expected) return;
  throw Error(ErrorKind::kContent, Place(file.path()),
              fmt::format("table '{}' {}, expected the one lowbit makes", name,
                          sql.empty() ? "is missing" : "has other columns"));
}

// Throws unless the open file is a whole results database of a schema we know. Returns its version.
int64_t CheckSchema(SqliteFile& file) {
  const SqliteTransaction snapshot(file,
                                   SqliteTransaction::Kind::kSnapshot);  // another process may upgrade it
  const Place place(file.path());
  if (const int64_t id = file.Integer("PRAGMA application_id"); id != kApplicationId) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("is a database of another application (application_id {}), expected {} of lowbit",
                            id, kApplicationId));
  }
  const int64_t version = file.Integer("PRAGMA user_version");
  if (version > kSchemaVersion) {
    throw Error(ErrorKind::kConflict, place,
                fmt::format("was made by a newer lowbit (schema {}), this one knows up to {}", version,
                            kSchemaVersion))
        .Hint("use the lowbit that made it");
  }
  if (version < 1) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("has schema version {}, expected 1 or more", version));
  }
  CheckTable(file, "cells", CellsTable(version));
  CheckTable(file, "metrics", kMetricsTable);
  if (version >= kLayerErrorsSince) CheckTable(file, "layer_errors", kLayerErrorsTable);
  // SQLite reads what is cut off as zeros. Others only ever add pages.
  const int64_t size = file.Integer("PRAGMA page_count") * file.Integer("PRAGMA page_size");
  std::error_code code;
  if (const uintmax_t there = fs::file_size(file.path(), code);
      !code && there < static_cast<uintmax_t>(size)) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("is damaged: {} bytes, expected at least {}", there, size));
  }
  // Pages, indexes, types and CHECKs: a few milliseconds for thousands of rows.
  SqliteStatement check(file, "PRAGMA integrity_check(1)");
  std::string verdict;
  if (check.Step()) check.Get(verdict);
  if (verdict != "ok") throw Error(ErrorKind::kContent, place, fmt::format("is damaged: {}", verdict));
  return version;
}

// From schema 1: the same rows in a table with the new columns, which are NULL. All or nothing; another process may
// have done it meanwhile.
void Upgrade(SqliteFile& file) {
  // So that what refers to the table by name, ours and other people's, keeps the name.
  file.Run("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON");
  SqliteTransaction transaction(file, SqliteTransaction::Kind::kWrite);
  if (file.Integer("PRAGMA user_version") == 1) {
    const std::string names = "id, " + Columns(1).names;
    file.Run("ALTER TABLE cells RENAME TO cells_1");
    file.Run(CellsTable(2));
    file.Run(fmt::format("INSERT INTO cells ({}) SELECT {} FROM cells_1", names, names));
    file.Run("DROP TABLE cells_1");
    file.Run(kLayerErrorsTable);
    file.Run("PRAGMA user_version = 2");
  }
  transaction.Commit();
  file.Run("PRAGMA legacy_alter_table = OFF");
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
  if (!CheckFile(path, mode)) Create(path);
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
    if (impl->version < kSchemaVersion) Upgrade(file);
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
