// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/sqlite.h"

#include <cerrno>

#include "lowbit/base/error.h"
#include "lowbit/base/files.h"

namespace lowbit {
namespace {

// `error_number`: the reason of the system for the last failed call on the file; 0 = not known.
[[noreturn]] void ThrowSqliteError(const std::string& path, int code, std::string_view reason,
                                   int error_number) {
  const Place place(path);
  switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      throw Error(ErrorKind::kConflict, place, "is locked by another process")
          .Hint("a study or an sqlite3 shell has it open; try again when that has finished");
    case SQLITE_NOTADB:
      throw Error(ErrorKind::kContent, place, "is not an SQLite database, expected lowbit results");
    case SQLITE_CORRUPT:
    case SQLITE_FORMAT:
    case SQLITE_TOOBIG:
    case SQLITE_ERROR:
      throw Error(ErrorKind::kContent, place, fmt::format("is damaged: {}", reason));
    case SQLITE_READONLY:
      throw WriteError(path, fmt::format("cannot write: {}", reason));
    case SQLITE_FULL:
      throw WriteError::Of(path, "write", ENOSPC);
    case SQLITE_CANTOPEN:  // its journal; the file itself is open
      throw WriteError(path, fmt::format("cannot open its journal: {}", reason));
    case SQLITE_PERM:
    case SQLITE_AUTH:
      throw Error(ErrorKind::kMissing, place, fmt::format("cannot open: {}", reason));
    case SQLITE_IOERR:
      if (error_number != 0) throw WriteError::Of(path, "read or write", error_number);
      throw WriteError(path, fmt::format("cannot read or write: {}", reason));
    case SQLITE_NOMEM:
      throw Error(ErrorKind::kResource, place, fmt::format("cannot read or write: {}", reason));
    default:
      throw Error(ErrorKind::kInternal, place, fmt::format("SQLite error {}: {}", code, reason));
  }
}

}  // namespace

SqliteFile::SqliteFile(const std::string& path, int flags, int max_value_bytes) : path_(path) {
  // A bare name could be ":memory:"; with a folder before it every name is a file.
  const std::string file = path.find('/') == std::string::npos ? "./" + path : path;
  const int code = sqlite3_open_v2(file.c_str(), &db_, flags | SQLITE_OPEN_EXRESCODE, nullptr);
  if (code != SQLITE_OK) {
    const std::string reason = db_ != nullptr ? sqlite3_errmsg(db_) : "out of memory";
    const int error_number = db_ != nullptr ? sqlite3_system_errno(db_) : 0;
    sqlite3_close(db_);
    if ((code & 0xFF) == SQLITE_CANTOPEN) {
      throw Error(ErrorKind::kMissing, Place(path_), fmt::format("cannot open: {}", reason));
    }
    ThrowSqliteError(path_, code, reason, error_number);
  }
  sqlite3_limit(db_, SQLITE_LIMIT_LENGTH, max_value_bytes);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(db_, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
}

SqliteFile::~SqliteFile() {
  sqlite3_close(db_);
}

void SqliteFile::SetPatience(std::chrono::milliseconds patience) {
  Check(sqlite3_busy_timeout(db_, static_cast<int>(patience.count())));
}

void SqliteFile::Run(const std::string& sql) {
  Check(sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr));
}

int64_t SqliteFile::Integer(const std::string& sql) const {
  SqliteStatement statement(*this, sql);
  int64_t value = 0;
  if (statement.Step()) statement.Get(value);
  return value;
}

bool SqliteFile::IsReadOnly() const {
  return sqlite3_db_readonly(db_, "main") == 1;
}

void SqliteFile::Check(int code) const {
  if (code != SQLITE_OK) ThrowSqliteError(path_, code, sqlite3_errmsg(db_), sqlite3_system_errno(db_));
}

SqliteTransaction::SqliteTransaction(SqliteFile& file, Kind kind) : file_(file) {
  // A write takes its lock at once: two that begin by reading could each wait for the other.
  file_.Run(kind == Kind::kWrite ? "BEGIN IMMEDIATE" : "BEGIN");
}

SqliteTransaction::~SqliteTransaction() {
  if (open_) sqlite3_exec(file_.handle(), "ROLLBACK", nullptr, nullptr, nullptr);
}

void SqliteTransaction::Commit() {
  file_.Run("COMMIT");
  open_ = false;
}

SqliteStatement::SqliteStatement(const SqliteFile& file, const std::string& sql) : file_(file) {
  file_.Check(sqlite3_prepare_v2(file_.handle(), sql.c_str(), -1, &statement_, nullptr));
}

SqliteStatement::~SqliteStatement() {
  sqlite3_finalize(statement_);
}

bool SqliteStatement::Step() {
  column_ = 0;
  const int code = sqlite3_step(statement_);
  if (code != SQLITE_ROW && code != SQLITE_DONE) file_.Check(code);
  return code == SQLITE_ROW;
}

void SqliteStatement::Reset() {
  sqlite3_reset(statement_);
  parameter_ = 0;
}

SqliteStatement& SqliteStatement::Bind(std::string_view text) {
  // A null pointer would bind NULL.
  file_.Check(sqlite3_bind_text64(statement_, ++parameter_, text.empty() ? "" : text.data(), text.size(),
                                  SQLITE_TRANSIENT, SQLITE_UTF8));
  return *this;
}

SqliteStatement& SqliteStatement::Bind(int64_t value) {
  file_.Check(sqlite3_bind_int64(statement_, ++parameter_, value));
  return *this;
}

SqliteStatement& SqliteStatement::Bind(double value) {
  file_.Check(sqlite3_bind_double(statement_, ++parameter_, value));
  return *this;
}

SqliteStatement& SqliteStatement::BindNull() {
  file_.Check(sqlite3_bind_null(statement_, ++parameter_));
  return *this;
}

bool SqliteStatement::NextIsNull() const {
  return sqlite3_column_type(statement_, column_) == SQLITE_NULL;
}

void SqliteStatement::Get(std::string& out) {
  const int at = column_++;
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_, at));
  out.assign(text != nullptr ? text : "", static_cast<size_t>(sqlite3_column_bytes(statement_, at)));
}

void SqliteStatement::Get(int64_t& out) {
  out = sqlite3_column_int64(statement_, column_++);
}

void SqliteStatement::Get(uint64_t& out) {
  out = static_cast<uint64_t>(sqlite3_column_int64(statement_, column_++));
}

void SqliteStatement::Get(uint32_t& out) {
  out = static_cast<uint32_t>(sqlite3_column_int64(statement_, column_++));
}

void SqliteStatement::Get(bool& out) {
  out = sqlite3_column_int64(statement_, column_++) != 0;
}

void SqliteStatement::Get(double& out) {
  out = sqlite3_column_double(statement_, column_++);
}

}  // namespace lowbit
