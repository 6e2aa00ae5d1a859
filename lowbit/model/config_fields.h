// SPDX-License-Identifier: Apache-2.0
// Typed, range-checked access to the keys of config.json. Used by config*.cc only.
// Everywhere here a key that is null counts as absent, as in transformers.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lowbit/base/json.h"

namespace lowbit {

class Fields {
 public:
  // `object` must be a JSON object and outlive this. `place` names the file and what leads to the object.
  Fields(const Json& object, Place place) : object_(object), place_(std::move(place)) {}

  const Json& object() const { return object_; }
  const std::string& file() const { return place_.file(); }
  Place PlaceOf(std::string_view key) const { return place_.Key(Printable(key)); }
  const Json* Find(std::string_view key) const;  // nullptr when absent or null

  // All throw Error{kContent} naming the key, what is there and what was expected.
  size_t Size(std::string_view key, size_t max) const;  // an integer from 1 to max
  std::optional<size_t> OptionalSize(std::string_view key, size_t max) const;
  double Number(std::string_view key, double min, double max) const;
  std::optional<double> OptionalNumber(std::string_view key, double min, double max) const;
  bool Flag(std::string_view key) const;
  bool Flag(std::string_view key, bool absent) const;  // `absent`: what an absent key means
  std::optional<std::string> OptionalText(std::string_view key) const;
  Fields Object(std::string_view key) const;  // the key must be there

  [[noreturn]] void Refuse(std::string_view key, std::string message, std::string hint = "") const;
  [[noreturn]] void RefuseMissing(std::string_view key, std::string_view expected) const;
  [[noreturn]] void RefuseValue(std::string_view key, const Json& value, std::string_view expected) const;

 private:
  const Json& object_;
  Place place_;
};

}  // namespace lowbit
