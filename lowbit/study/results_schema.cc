// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/results_schema.h"

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "lowbit/base/files.h"
#include "lowbit/study/cell_outcomes.h"
#include "lowbit/study/layer_errors.h"

namespace lowbit {
namespace fs = std::filesystem;

namespace {

constexpr int64_t kApplicationId = 0x4C4F5742;  // "LOWB"

constexpr int kMinFileBytes = 512;  // SQLite's smallest page

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
  return std::string(kCellsTableBegin) + (version >= kSharedTimeSince ? kCellsTableSince2 : "") +
         kCellsTableEnd;
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

// From version 1: the same rows in a table with the new columns, which are NULL.
void AddSharedTime(SqliteFile& file) {
  std::string names;
  {
    SqliteStatement columns(file, "SELECT group_concat(name, ', ') FROM pragma_table_info('cells')");
    if (columns.Step()) columns.Get(names);
  }
  file.Run("ALTER TABLE cells RENAME TO cells_1");
  file.Run(CellsTable(kSharedTimeSince));
  file.Run(fmt::format("INSERT INTO cells ({}) SELECT {} FROM cells_1", names, names));
  file.Run("DROP TABLE cells_1");
}

}  // namespace

// Builds an empty database beside `path` and links it into place: no other process ever sees a file
// without tables, and of two processes that create at the same time neither replaces the other's rows.
void CreateResultsFile(const std::string& path) {
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
    for (const std::string& sql :
         {CellsTable(kSchemaVersion), std::string(kMetricsTable), std::string(kLayerErrorsTable),
          std::string(kAnswersTable), std::string(kWindowsTable), std::string(kInputsTable),
          std::string(kTableView)})
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

bool CheckResultsFile(const std::string& path, bool must_exist) {
  const Place place(path);
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    if (errno == ENOENT && !must_exist && !path.empty()) return false;
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
  if (version >= kOutcomesSince) {
    CheckTable(file, "answers", kAnswersTable);
    CheckTable(file, "windows", kWindowsTable);
  }
  if (version >= kInputsSince) CheckTable(file, "inputs", kInputsTable);
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

void UpgradeSchema(SqliteFile& file) {
  // So that what refers to the table by name, ours and other people's, keeps the name.
  file.Run("PRAGMA foreign_keys = OFF; PRAGMA legacy_alter_table = ON");
  SqliteTransaction transaction(file, SqliteTransaction::Kind::kWrite);
  const int64_t version = file.Integer("PRAGMA user_version");
  if (version < 2) {
    AddSharedTime(file);
    file.Run(kLayerErrorsTable);
  }
  if (version < 3) {
    file.Run(kAnswersTable);
    file.Run(kWindowsTable);
  }
  if (version < 4) {
    file.Run(kInputsTable);
    file.Run(fmt::format("PRAGMA user_version = {}", kSchemaVersion));
  }
  transaction.Commit();
  file.Run("PRAGMA legacy_alter_table = OFF");
}

}  // namespace lowbit
