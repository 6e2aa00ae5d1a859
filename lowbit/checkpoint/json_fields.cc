// SPDX-License-Identifier: Apache-2.0
#include "lowbit/checkpoint/json_fields.h"

#include <fmt/format.h>

#include <cmath>

namespace lowbit {

JsonFields::JsonFields(const Json& object, Place place) : object_(object), place_(std::move(place)) {
  if (object_.is_object()) return;
  throw Error(ErrorKind::kContent, place_, fmt::format("{}, expected an object", JsonPreview(object_)));
}

const Json& JsonFields::Get(std::string_view key) {
  const auto it = object_.find(std::string(key));
  if (it == object_.end()) throw Error(ErrorKind::kContent, At(key), "missing");
  asked_.emplace(key);
  return *it;
}

void JsonFields::Refuse(std::string_view key, std::string_view expected) const {
  throw Error(ErrorKind::kContent, At(key),
              fmt::format("{}, expected {}", JsonPreview(object_.at(std::string(key))), expected));
}

uint64_t JsonFields::Unsigned(std::string_view key, uint64_t least, uint64_t most) {
  const Json& value = Get(key);
  const bool fits =
      value.is_number_unsigned() && value.get<uint64_t>() >= least && value.get<uint64_t>() <= most;
  if (!fits) Refuse(key, fmt::format("an integer from {} to {}", least, most));
  return value.get<uint64_t>();
}

double JsonFields::NonNegative(std::string_view key) {
  const Json& value = Get(key);
  if (!value.is_number() || !(value.get<double>() >= 0)) Refuse(key, "a number, 0 or more");
  return value.get<double>();
}

bool JsonFields::Boolean(std::string_view key) {
  const Json& value = Get(key);
  if (!value.is_boolean()) Refuse(key, "true or false");
  return value.get<bool>();
}

std::string JsonFields::String(std::string_view key) {
  const Json& value = Get(key);
  if (!value.is_string() || value.get_ref<const std::string&>().empty())
    Refuse(key, "a text that is not empty");
  return value.get<std::string>();
}

std::vector<std::string> JsonFields::Strings(std::string_view key) {
  std::vector<std::string> texts;
  const Json& value = Get(key);
  if (!value.is_array()) Refuse(key, "a list of texts");
  for (const Json& text : value) {
    if (!text.is_string()) Refuse(key, "a list of texts");
    texts.push_back(text.get<std::string>());
  }
  return texts;
}

std::string JsonFields::Sha256(std::string_view key) {
  const Json& value = Get(key);
  const bool is_hash =
      value.is_string() && value.get_ref<const std::string&>().size() == 64 &&
      value.get_ref<const std::string&>().find_first_not_of("0123456789abcdef") == std::string::npos;
  if (!is_hash) Refuse(key, "a SHA-256 as 64 hexadecimal digits");
  return value.get<std::string>();
}

std::map<std::string, double> JsonFields::NonNegatives(std::string_view key) {
  std::map<std::string, double> numbers;
  const Json& object = Object(key);
  JsonFields fields(object, At(key));
  for (const auto& [name, value] : object.items()) numbers[name] = fields.NonNegative(name);
  return numbers;
}

const Json& JsonFields::Object(std::string_view key) {
  const Json& value = Get(key);
  if (!value.is_object()) Refuse(key, "an object");
  return value;
}

void JsonFields::RefuseOthers() const {
  for (const auto& [key, value] : object_.items()) {
    if (asked_.contains(key)) continue;
    throw Error(ErrorKind::kContent, At(Printable(key, 100)), "unknown key")
        .Hint("a newer lowbit may have written this file");
  }
}

}  // namespace lowbit
