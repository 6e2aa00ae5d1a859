// SPDX-License-Identifier: Apache-2.0
// What reading a recipe is made of: its grammar is in recipe_parser.cc, its options and rules in recipe_options.cc.
#pragma once

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/quant/method.h"
#include "lowbit/quant/spec.h"

namespace lowbit::recipe {

// A piece of the recipe and where it begins in it.
struct Part {
  std::string_view text;
  size_t at;
};

std::vector<Part> Split(Part whole, char separator);

// A whole number written in digits only, without leading zeros. 0 when it is anything else.
size_t PositiveNumber(std::string_view digits, size_t max_digits);

// Options that hold for every packed matrix.
void TakeOptions(const WeightSpec& from, WeightSpec& to);

template <class Predicate>
bool AnyWeights(const Recipe& recipe, Predicate&& predicate) {
  return predicate(recipe.weights) || std::ranges::any_of(recipe.rules, [&](const WeightRule& rule) {
           return rule.weights && predicate(*rule.weights);
         });
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Recipe Parse();

 private:
  [[noreturn]] void Fail(Part part, std::string_view expected) const;
  Part TakePreset(Part method, bool& is_study) const;
  void ApplyStudyPreset(Recipe& recipe, std::span<const Part> weights) const;
  const Method& ParseMethod(Part name) const;
  WeightSpec ParseWeights(std::span<const Part> parts, Part whole, int min_bits, int max_bits,
                          bool groups_are_optional = false) const;
  void ParseOption(Part option, Recipe& recipe);
  std::optional<WeightSpec> ParseKeptOr(Part value, int min_bits, int max_bits) const;
  void CheckGrid(const WeightSpec& spec, Part weights) const;
  bool ParseAwqOption(Part name, Part value, AwqOptions& awq) const;
  void ParseSmoothOption(Part name, Part value, Recipe& recipe);
  void CheckInputs(Recipe& recipe);
  void ParseRule(Part name, Part value, const MethodInfo& info);
  void TakeRules(Recipe& recipe);
  bool ParseGptqOption(Part name, Part value, GptqOptions& gptq) const;
  bool ParseBillmOption(Part name, Part value, Recipe& recipe) const;
  WeightSpec PlanesOf(std::span<const Part> parts) const;
  bool ParseFlag(Part value) const;
  double ParseDamp(Part value) const;
  void CheckGptq(const Recipe& recipe) const;

  std::string_view text_;
  struct ParsedRule {
    WeightRule rule;
    Part name, value;
  };
  std::vector<ParsedRule> rules_;
  std::set<std::string_view> seen_;                                     // options
  Part grid_{"", 0}, range_{"", 0}, head_{"", 0}, awq_samples_{"", 0};  // where they were set
  Part activations_{"", 0}, transform_{"", 0}, alpha_at_{"", 0};        // the same
  double alpha_ = 0;
  bool is_smoothquant_ = false, takes_smooth_ = false;
};

}  // namespace lowbit::recipe
