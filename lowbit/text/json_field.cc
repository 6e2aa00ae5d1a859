// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/json_field.h"

#include <algorithm>

#include "lowbit/base/json.h"

namespace lowbit {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

std::string Join(const std::string& key, std::string_view name) {
  return key.empty() ? Printable(name, 100) : key + "." + Printable(name, 100);
}

// Offset of the bracket that opens the first level beyond `limit`; npos when there is none.
size_t TooDeepAt(std::string_view text, size_t limit) {
  size_t depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      if (++depth > limit) return i;
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return text.npos;
}

// simdjson says what is wrong but not where; the slow parser does both.
[[noreturn]] void FailParsing(std::string_view text, const Place& file, simdjson::error_code code) {
  if (code == simdjson::MEMALLOC) {
    throw Error(ErrorKind::kResource, file, fmt::format("out of memory for {} bytes of JSON", text.size()));
  }
  if (const size_t at = TooDeepAt(text, JsonDocument::kMaxDepth); at != text.npos) {
    throw Error(ErrorKind::kContent, file.Byte(at),
                fmt::format("nested deeper than {} levels", JsonDocument::kMaxDepth));
  }
  ParseJson(text, file, {.max_bytes = JsonDocument::kMaxBytes, .max_depth = JsonDocument::kMaxDepth});
  throw Error(ErrorKind::kContent, file, fmt::format("not valid JSON: {}", simdjson::error_message(code)));
}

void RejectDuplicates(const JsonField& field, std::span<const std::string_view> except) {
  if (std::find(except.begin(), except.end(), field.key()) != except.end()) return;
  if (field.value().is_array()) {
    for (const JsonField& element : field.Elements()) RejectDuplicates(element, except);
  }
  if (!field.value().is_object()) return;
  std::vector<std::string_view> keys;
  for (const auto& [key, value] : field.Members()) {
    keys.push_back(key);
    RejectDuplicates(value, except);
  }
  std::sort(keys.begin(), keys.end());
  if (const auto twice = std::adjacent_find(keys.begin(), keys.end()); twice != keys.end()) {
    throw Error(ErrorKind::kContent, field.place(),
                fmt::format("key '{}' is there twice", Printable(*twice, 100)));
  }
}

}  // namespace

std::string PreviewOf(const element& value) {
  switch (value.type()) {
    case element_type::NULL_VALUE:
      return "null";
    case element_type::OBJECT:
      return "an object";
    case element_type::ARRAY:
      return "a list";
    default:
      return Printable(simdjson::minify(value), 80);
  }
}

JsonField JsonField::Member(std::string_view name, element value) const {
  return {value, file_, Join(key_, name)};
}

JsonField JsonField::Get(std::string_view name) const {
  element value;
  if (Object().at_key(name).get(value) == simdjson::SUCCESS) return Member(name, value);
  throw Error(ErrorKind::kContent, place(), fmt::format("has no key '{}'", name));
}

std::optional<JsonField> JsonField::Find(std::string_view name) const {
  element value;
  if (Object().at_key(name).get(value) != simdjson::SUCCESS || value.is_null()) return std::nullopt;
  return Member(name, value);
}

std::vector<JsonField> JsonField::Elements() const {
  std::vector<JsonField> elements;
  for (const element value : Array()) {
    elements.emplace_back(value, file_, fmt::format("{}[{}]", key_, elements.size()));
  }
  return elements;
}

std::vector<std::pair<std::string_view, JsonField>> JsonField::Members() const {
  std::vector<std::pair<std::string_view, JsonField>> members;
  for (const auto member : Object()) members.emplace_back(member.key, Member(member.key, member.value));
  return members;
}

simdjson::dom::object JsonField::Object() const {
  simdjson::dom::object object;
  if (value_.get(object) != simdjson::SUCCESS) Fail("an object");
  return object;
}

simdjson::dom::array JsonField::Array() const {
  simdjson::dom::array array;
  if (value_.get(array) != simdjson::SUCCESS) Fail("a list");
  return array;
}

std::string_view JsonField::String() const {
  std::string_view text;
  if (value_.get(text) != simdjson::SUCCESS) Fail("a string");
  return text;
}

bool JsonField::Bool() const {
  bool value = false;
  if (value_.get(value) != simdjson::SUCCESS) Fail("true or false");
  return value;
}

int64_t JsonField::Int(int64_t low, int64_t high) const {
  int64_t value = 0;
  if (value_.type() != element_type::INT64 || value_.get(value) != simdjson::SUCCESS || value < low ||
      value > high) {
    Fail(fmt::format("an integer from {} to {}", low, high));
  }
  return value;
}

void JsonField::ExpectOnly(std::string_view name, bool value) const {
  const std::optional<JsonField> field = Find(name);
  if (field && field->Bool() != value) field->Fail(value ? "true" : "false");
}

void JsonField::Fail(std::string_view expected) const {
  throw Error(ErrorKind::kContent, place(), fmt::format("is {}, expected {}", PreviewOf(value_), expected));
}

JsonDocument::JsonDocument(std::string_view text, Place file) : file_(std::move(file)) {
  if (text.size() > kMaxBytes) {
    throw Error(ErrorKind::kContent, file_,
                fmt::format("{} bytes of JSON, expected at most {}", text.size(), kMaxBytes));
  }
  if (text.empty()) throw Error(ErrorKind::kContent, file_.Byte(0), "not valid JSON: an empty text");
  if (text.starts_with("\xEF\xBB\xBF")) {  // some versions of simdjson would skip it
    throw Error(ErrorKind::kContent, file_.Byte(0), "not valid JSON: begins with a byte order mark");
  }
  simdjson::error_code code = parser_.allocate(text.size(), kMaxDepth);
  if (code == simdjson::SUCCESS) code = parser_.parse(text.data(), text.size()).get(root_);
  if (code != simdjson::SUCCESS) FailParsing(text, file_, code);
}

void JsonDocument::RejectDuplicateKeys(std::span<const std::string_view> except) const {
  RejectDuplicates(Root(), except);
}

}  // namespace lowbit
