// SPDX-License-Identifier: Apache-2.0
// Room base: errors, log, progress, json, hash, mapped and atomic files, threads. No domain words.
// In:  bytes, paths, callables.   Out: checked values, or an Error that says where and what to do.
// Non-goals: printing (only through log.h and progress.h), anything that knows what a model is.
// Start reading here, then files.h and threads.h.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <exception>
#include <string>
#include <string_view>

namespace lowbit {

// What went wrong, by what the user can do about it. One exit code each (docs/cli.md).
enum class ErrorKind : uint8_t {
  kInternal = 1,  // our own bug
  kUsage = 2,     // a flag, a recipe, an option
  kContent = 3,   // a file holds something else than it should
  kMissing = 4,   // a file is missing or unreadable
  kResource = 5,  // memory, disk, file handles
  kConflict = 6,  // locked, or made from other inputs
  kNumeric = 7,   // NaN, an infinite loss, a scale that does not fit
  kNetwork = 8,
};

inline constexpr int kExitPartial = 9;  // finished, but some cells failed

constexpr int ExitCode(ErrorKind kind) {
  return static_cast<int>(kind);
}
std::string_view Name(ErrorKind kind);  // "content", "missing", …

// Where an error is: a file and a path inside it.
//   Place(path).Tensor("model.norm.weight").Item("shape")
class Place {
 public:
  Place() = default;
  explicit Place(std::string file) : file_(std::move(file)) {}
  Place Tensor(std::string_view name) const { return Item(fmt::format("tensor '{}'", name)); }
  Place Key(std::string_view name) const { return Item(fmt::format("key '{}'", name)); }
  Place Line(size_t line) const { return Item(fmt::format("line {}", line)); }
  Place Byte(size_t offset) const { return Item(fmt::format("byte {}", offset)); }
  Place Item(std::string item) const;
  const std::string& file() const { return file_; }
  const std::string& item() const { return item_; }
  std::string Text() const;  // "file: item: item", without a trailing colon

 private:
  std::string file_, item_;
};

// The only exception lowbit throws on purpose. what() is one line, "place: message (hint: …)", with
// control characters escaped: names from hostile files must not break a log or a terminal.
class Error : public std::exception {
 public:
  Error(ErrorKind kind, Place place, std::string message);
  Error(ErrorKind kind, std::string message) : Error(kind, Place(), std::move(message)) {}
  Error& Hint(std::string hint);

  const char* what() const noexcept override { return text_.c_str(); }
  ErrorKind kind() const { return kind_; }
  const Place& place() const { return place_; }
  const std::string& message() const { return message_; }
  const std::string& hint() const { return hint_; }

 private:
  void Compose();
  ErrorKind kind_;
  Place place_;
  std::string message_, hint_, text_;
};

// `text` with control characters and invalid UTF-8 escaped, cut to `limit` bytes: safe to print.
std::string Printable(std::string_view text, size_t limit = 200);

[[noreturn]] void AssertFailed(const char* condition, const char* file, int line);

// For our own mistakes only, never for what a user gave us.
#if defined(LOWBIT_ASSERTIONS)
#define LOWBIT_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::lowbit::AssertFailed(#condition, __FILE__, __LINE__))
#else
#define LOWBIT_ASSERT(condition) static_cast<void>(0)
#endif

}  // namespace lowbit
