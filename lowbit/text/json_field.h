// SPDX-License-Identifier: Apache-2.0
// Reading a large JSON file field by field: simdjson's document, with every value knowing its key path
// for messages. As strict as base/json.h (UTF-8, duplicate keys, depth), and twenty times as fast.
#pragma once

#include <simdjson.h>

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowbit/base/error.h"

namespace lowbit {

// A value and where it stands. Cheap to copy, but made for components, not for 150,000 tokens.
class JsonField {
 public:
  JsonField(simdjson::dom::element value, Place file, std::string key)
      : value_(value), file_(std::move(file)), key_(std::move(key)) {}

  // Member `name` of an object. Throws Error{kContent} when this is no object or lacks it.
  JsonField Get(std::string_view name) const;
  // The same, nullopt for a member that is missing or null.
  std::optional<JsonField> Find(std::string_view name) const;
  std::vector<JsonField> Elements() const;                              // of a list
  std::vector<std::pair<std::string_view, JsonField>> Members() const;  // of an object

  simdjson::dom::object Object() const;
  simdjson::dom::array Array() const;
  std::string_view String() const;
  bool Bool() const;
  int64_t Int(int64_t low, int64_t high) const;

  // Throws unless the member is missing, null, or equal to the value of the only behaviour we have.
  void ExpectOnly(std::string_view name, bool value) const;

  // Throws Error{kContent}: "FILE: key 'a.b': is SOMETHING, expected EXPECTED".
  [[noreturn]] void Fail(std::string_view expected) const;

  const simdjson::dom::element& value() const { return value_; }
  Place place() const { return key_.empty() ? file_ : file_.Key(key_); }
  const std::string& key() const { return key_; }

 private:
  JsonField Member(std::string_view name, simdjson::dom::element value) const;
  simdjson::dom::element value_;
  Place file_;
  std::string key_;
};

// A short printable form of a value for messages: 64.5, "relu", an object.
std::string PreviewOf(const simdjson::dom::element& value);

// Owns what the fields point into.
class JsonDocument {
 public:
  static constexpr size_t kMaxBytes = size_t{256} << 20;
  static constexpr size_t kMaxDepth = 64;

  // Throws Error{kContent} naming `file` and the byte where `text` stops being valid JSON.
  JsonDocument(std::string_view text, Place file);

  JsonField Root() const { return {root_, file_, ""}; }

  // Throws Error{kContent} if any object holds a key twice. Does not look inside the values whose key
  // paths are in `except`, which the caller checks.
  void RejectDuplicateKeys(std::span<const std::string_view> except) const;

 private:
  Place file_;
  simdjson::dom::parser parser_;
  simdjson::dom::element root_;
};

}  // namespace lowbit
