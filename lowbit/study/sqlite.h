// SPDX-License-Identifier: Apache-2.0
// SQLite behind three small types. Values are bound, never pasted into SQL; every failure is an Error
// that names the file. Private to this room: only results_db.cc includes it.
#pragma once

#include <sqlite3.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace lowbit {

// One open file.
class SqliteFile {
 public:
  // `flags` as for sqlite3_open_v2. Nothing that the file brings along (triggers, functions in its schema)
  // may run, and no value longer than `max_value_bytes` is read.
  SqliteFile(const std::string& path, int flags, int max_value_bytes);
  ~SqliteFile();
  SqliteFile(const SqliteFile&) = delete;
  SqliteFile& operator=(const SqliteFile&) = delete;

  void SetPatience(std::chrono::milliseconds patience);  // how long to wait for another process's lock
  void Run(const std::string& sql);                      // statements without parameters and results
  int64_t Integer(const std::string& sql) const;         // first column of the first row; 0 without one
  bool IsReadOnly() const;

  void Check(int code) const;  // throws unless SQLITE_OK
  sqlite3* handle() const { return db_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  sqlite3* db_ = nullptr;
};

// Begun on construction; undone unless Commit() was reached.
class SqliteTransaction {
 public:
  enum class Kind : uint8_t { kSnapshot, kWrite };
  SqliteTransaction(SqliteFile& file, Kind kind);
  ~SqliteTransaction();
  SqliteTransaction(const SqliteTransaction&) = delete;
  SqliteTransaction& operator=(const SqliteTransaction&) = delete;
  void Commit();

 private:
  SqliteFile& file_;
  bool open_ = true;
};

// A prepared statement. Parameters are bound, and columns of a row read, one after the other, by C++ type.
class SqliteStatement {
 public:
  SqliteStatement(const SqliteFile& file, const std::string& sql);
  ~SqliteStatement();
  SqliteStatement(const SqliteStatement&) = delete;
  SqliteStatement& operator=(const SqliteStatement&) = delete;

  bool Step();   // false when there is no further row
  void Reset();  // to bind and run again

  SqliteStatement& Bind(std::string_view text);
  SqliteStatement& Bind(const char* text) { return Bind(std::string_view(text)); }
  SqliteStatement& Bind(const std::string& text) { return Bind(std::string_view(text)); }
  SqliteStatement& Bind(int64_t value);
  SqliteStatement& Bind(uint64_t value) { return Bind(static_cast<int64_t>(value)); }  // caller: below 2^63
  SqliteStatement& Bind(uint32_t value) { return Bind(static_cast<int64_t>(value)); }
  SqliteStatement& Bind(bool value) { return Bind(static_cast<int64_t>(value)); }
  SqliteStatement& Bind(double value);
  SqliteStatement& BindNull();
  template <class T>
  SqliteStatement& Bind(const std::optional<T>& value) {
    return value.has_value() ? Bind(*value) : BindNull();
  }

  void Get(std::string& out);
  void Get(int64_t& out);
  void Get(uint64_t& out);
  void Get(uint32_t& out);
  void Get(bool& out);
  void Get(double& out);
  template <class T>
  void Get(std::optional<T>& out) {
    out.reset();
    if (NextIsNull()) {
      ++column_;
    } else {
      Get(out.emplace());
    }
  }

 private:
  bool NextIsNull() const;
  const SqliteFile& file_;
  sqlite3_stmt* statement_ = nullptr;
  int parameter_ = 0, column_ = 0;
};

}  // namespace lowbit
