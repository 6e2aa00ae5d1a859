// SPDX-License-Identifier: Apache-2.0
// Strict reading of YAML: every key known, none twice, every value of the right kind, errors with line and
// key.
#pragma once

#include <yaml-cpp/yaml.h>

#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowbit/base/error.h"

namespace lowbit {

// A node and where it stands. Cheap to copy.
class YamlReader {
 public:
  // Throws Error{kContent} with the line for what is not YAML, or not one document.
  static YamlReader Parse(const std::string& text, const std::string& path);

  // Requires a map whose keys are all among `known`. Returns *this.
  const YamlReader& Map(std::initializer_list<std::string_view> known) const;
  bool IsMap() const { return node_.IsMap(); }
  bool Has(std::string_view key) const;
  YamlReader Get(std::string_view key) const;  // Error when absent

  std::vector<YamlReader> List() const;       // Error unless a list with at least one entry
  std::vector<YamlReader> ListOrOne() const;  // the same, or a scalar in place of a list of one
  std::vector<std::pair<std::string, YamlReader>> Pairs()
      const;                   // of a map with any words as keys, none twice
  std::string String() const;  // Error unless a scalar that is not empty
  std::string Text() const;    // Error unless a scalar
  bool Bool() const;           // true or false
  size_t Count() const;        // an integer from 1 to 10^9

  Place place() const;
  [[noreturn]] void Fail(const std::string& message) const;

 private:
  YamlReader(YAML::Node node, std::string path, std::string key)
      : node_(std::move(node)), path_(std::move(path)), key_(std::move(key)) {}
  std::string Kind() const;
  std::vector<std::pair<YamlReader, YamlReader>> Entries() const;  // names and values of a map, none twice
  YAML::Node node_;
  std::string path_, key_;
};

}  // namespace lowbit
