// SPDX-License-Identifier: Apache-2.0
// Strict JSON read front to back, without building a tree: for texts that are large or hostile, where a
// tree would need many times their size. What json.h promises holds here too: UTF-8, bounded depth, errors
// with the byte.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lowbit/base/error.h"

namespace lowbit {

// The value of `text` if it is an integer from 0 to 2^64 - 1 written in digits only: no sign, no exponent.
std::optional<uint64_t> ParseUnsigned(std::string_view text);

// A cursor over one JSON text. Every value must be read, or skipped, exactly once, in the text's order:
//
//   std::string key;
//   reader.BeginObject();
//   while (reader.NextKey(key)) { if (key == "name") name = reader.String(); else reader.Skip(); }
//   reader.End();
//
// All functions throw Error{kContent} naming the byte where the text is not JSON, or not the type asked for.
class JsonReader {
 public:
  enum class Type { kObject, kArray, kString, kNumber, kBoolean, kNull };

  // `text` must outlive the reader. `place` names the file, `first_byte` the offset of `text` in it.
  JsonReader(std::string_view text, Place place, size_t first_byte = 0)
      : text_(text), place_(std::move(place)), first_byte_(first_byte) {}

  // The type of the value that comes next. Throws when nothing like a value does.
  Type Peek();

  // For messages: the next value, or the one at `position`, as it is written; printable and short. Does not
  // move.
  std::string Preview() { return PreviewAt((Peek(), Position())); }
  std::string PreviewAt(size_t position) const;

  void BeginObject();
  bool NextKey(std::string& key, size_t max_bytes = kMaxString);  // false: the object has ended
  void BeginArray();
  bool NextElement();  // false: the array has ended

  std::string String(size_t max_bytes = kMaxString);
  std::string_view Number();           // as written
  std::optional<uint64_t> Unsigned();  // a number; nullopt unless it is written in digits only and fits
  void Skip();                         // any value
  void End();                          // throws unless only white space is left

  size_t Position() const { return first_byte_ + at_; }  // in the file

  static constexpr size_t kMaxString = 65535;      // bytes of a string, unless told otherwise
  static constexpr size_t kMaxDepth = 64;          // levels that Skip follows
  static constexpr size_t kMaxNumber = 64;         // characters of a number
  static constexpr size_t kMaxWhiteSpace = 65535;  // bytes in a row

 private:
  [[noreturn]] void Fail(size_t at, std::string message) const;
  [[noreturn]] void FailFound(std::string_view expected);
  char SkipWhiteSpace();  // the next character, or '\0' at the end
  void Expect(char c, std::string_view expected);
  void Literal(std::string_view word);
  bool Next(char end, std::string_view expected);
  void SkipNested(size_t depth);
  void AppendEscape(std::string& out);
  uint32_t HexDigits();

  std::string_view text_;
  Place place_;
  size_t first_byte_;
  size_t at_ = 0;
  bool first_ = true;  // nothing read yet in the innermost object or array
};

}  // namespace lowbit
