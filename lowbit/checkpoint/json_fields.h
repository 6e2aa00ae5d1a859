// SPDX-License-Identifier: Apache-2.0
// A JSON object whose every key has to be known and of its type: for the small files lowbit writes itself.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/base/json.h"

namespace lowbit {

// All functions throw Error{kContent} naming the key, what is there and what was expected.
class JsonFields {
 public:
  // `object` must outlive this.
  JsonFields(const Json& object, Place place);

  uint64_t Unsigned(std::string_view key, uint64_t least = 0,
                    uint64_t most = std::numeric_limits<int64_t>::max());
  double NonNegative(std::string_view key);
  bool Boolean(std::string_view key);
  std::string String(std::string_view key);                          // not empty
  std::vector<std::string> Strings(std::string_view key);            // a list of texts
  std::string Sha256(std::string_view key);                          // 64 lower-case hexadecimal digits
  std::map<std::string, double> NonNegatives(std::string_view key);  // an object of numbers, 0 or more
  const Json& Object(std::string_view key);

  void RefuseOthers() const;  // call last: a key that nobody asked for is an error

  Place At(std::string_view key) const { return place_.Key(key); }

 private:
  const Json& Get(std::string_view key);
  [[noreturn]] void Refuse(std::string_view key, std::string_view expected) const;

  const Json& object_;
  Place place_;
  std::set<std::string, std::less<>> asked_;
};

}  // namespace lowbit
