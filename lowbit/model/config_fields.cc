// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/config_fields.h"

namespace lowbit {

const Json* Fields::Find(std::string_view key) const {
  const auto it = object_.find(std::string(key));
  return it == object_.end() || it->is_null() ? nullptr : &*it;
}

void Fields::Refuse(std::string_view key, std::string message, std::string hint) const {
  Error error(ErrorKind::kContent, PlaceOf(key), std::move(message));
  if (!hint.empty()) error.Hint(std::move(hint));
  throw error;
}

void Fields::RefuseMissing(std::string_view key, std::string_view expected) const {
  Refuse(key,
         fmt::format("{}, expected {}", object_.contains(std::string(key)) ? "null" : "missing", expected));
}

void Fields::RefuseValue(std::string_view key, const Json& value, std::string_view expected) const {
  Refuse(key, fmt::format("{}, expected {}", JsonPreview(value), expected));
}

std::optional<size_t> Fields::OptionalSize(std::string_view key, size_t max) const {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  // A float that happens to be whole, a string of digits and `true` are mistakes of whoever wrote the file.
  if (value->is_number_unsigned()) {
    const auto size = value->get<uint64_t>();
    if (size >= 1 && size <= max) return size;
  }
  RefuseValue(key, *value, fmt::format("an integer from 1 to {}", max));
}

size_t Fields::Size(std::string_view key, size_t max) const {
  const std::optional<size_t> size = OptionalSize(key, max);
  if (!size.has_value()) RefuseMissing(key, fmt::format("an integer from 1 to {}", max));
  return *size;
}

std::optional<double> Fields::OptionalNumber(std::string_view key, double min, double max) const {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->is_number()) {
    const auto number = value->get<double>();
    if (number >= min && number <= max) return number;
  }
  RefuseValue(key, *value, fmt::format("a number from {} to {}", min, max));
}

double Fields::Number(std::string_view key, double min, double max) const {
  const std::optional<double> number = OptionalNumber(key, min, max);
  if (!number.has_value()) RefuseMissing(key, fmt::format("a number from {} to {}", min, max));
  return *number;
}

bool Fields::Flag(std::string_view key) const {
  const Json* value = Find(key);
  if (value == nullptr) RefuseMissing(key, "true or false");
  if (!value->is_boolean()) RefuseValue(key, *value, "true or false");
  return value->get<bool>();
}

bool Fields::Flag(std::string_view key, bool absent) const {
  return Find(key) == nullptr ? absent : Flag(key);
}

std::optional<std::string> Fields::OptionalText(std::string_view key) const {
  const Json* value = Find(key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) RefuseValue(key, *value, "a string");
  return value->get<std::string>();
}

Fields Fields::Object(std::string_view key) const {
  const Json* value = Find(key);
  if (value == nullptr) RefuseMissing(key, "an object");
  if (!value->is_object()) RefuseValue(key, *value, "an object");
  return {*value, PlaceOf(key)};
}

}  // namespace lowbit
