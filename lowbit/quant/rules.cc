// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/rules.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <string>
#include <vector>

#include "lowbit/base/error.h"

namespace lowbit {
namespace {

[[noreturn]] void Refuse(const Recipe& recipe, const WeightRule& rule, std::string message) {
  throw Error(ErrorKind::kUsage, Place(fmt::format("recipe '{}'", recipe.Text())).Item(rule.Name()),
              std::move(message));
}

// body(layer, linear) for every linear of the model.
template <class F>
void ForLinears(const ModelLayout& layout, const F& body) {
  for (size_t l = 0; l < layout.layers.size(); ++l) {
    for (const LinearSpec& linear : layout.layers[l].linears) body(l, linear.name);
  }
}

// Names of a layer's linears, of many the first and the last.
std::string NamesOf(const LayerLayout& layer) {
  constexpr size_t kShown = 7;
  std::vector<std::string> names;
  for (const LinearSpec& linear : layer.linears) names.push_back(linear.name);
  if (names.size() > kShown) {
    const std::string last = names.back();
    names.resize(kShown - 1);
    names.push_back("… " + last);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

void RequireFit(const Recipe& recipe, const WeightRule& rule, const ModelLayout& layout) {
  const size_t layers = layout.layers.size();
  if (rule.layers && rule.layers->last >= layers)
    Refuse(recipe, rule,
           fmt::format("layer {}, the model has layers 0 to {}", rule.layers->last, layers - 1));
  Recipe without = recipe;
  std::erase(without.rules, rule);
  bool covers = false, changes = false;
  ForLinears(layout, [&](size_t layer, const std::string& linear) {
    if (!rule.Covers(layer, linear)) return;
    covers = true;
    changes = changes || recipe.WeightsOf(layer, linear) != without.WeightsOf(layer, linear);
  });
  if (!covers) {
    Refuse(recipe, rule,
           fmt::format("no linear has '{}' in its name, expected parts of {}", rule.tensor,
                       NamesOf(layout.layers[0])));
  }
  if (!changes) Refuse(recipe, rule, "changes nothing, expected other weights than without this rule");
}

void RequireOneRuleEach(const Recipe& recipe, const ModelLayout& layout) {
  ForLinears(layout, [&](size_t layer, const std::string& linear) {
    for (auto a = recipe.rules.begin(); a != recipe.rules.end(); ++a) {
      if (!a->Covers(layer, linear)) continue;
      const auto b = std::find_if(a + 1, recipe.rules.end(), [&](const WeightRule& other) {
        return other.Rank() == a->Rank() && other.Covers(layer, linear);
      });
      if (b == recipe.rules.end()) continue;
      Refuse(recipe, *b,
             fmt::format("covers {} of layer {}, as '{}' does, expected one rule for it", linear, layer,
                         a->Name()));
    }
  });
}

std::string TextOf(const std::optional<WeightSpec>& spec) {
  return spec ? spec->Text() : "keep";
}

// AWQ and SmoothQuant multiply the columns of all readers of an input by one vector and divide their producer by it.
void RequireWhatCanBeScaled(const Recipe& recipe, size_t l, const LayerLayout& layer) {
  const auto refuse = [&](const std::string& message) {
    throw Error(ErrorKind::kUsage,
                Place(fmt::format("recipe '{}'", recipe.Text())).Item(fmt::format("layer {}", l)), message);
  };
  const std::string_view scaler = recipe.awq ? "awq" : "smoothquant";
  for (const Stage& stage : layer.stages) {
    const std::string& first = stage.readers[0];
    const std::optional<WeightSpec> spec = recipe.WeightsOf(l, first);
    for (const std::string& reader : stage.readers) {
      if (recipe.WeightsOf(l, reader) == spec) continue;
      refuse(fmt::format("{} is {} but {} is {}, expected one for both: {} scales what they read together",
                         first, TextOf(spec), reader, TextOf(recipe.WeightsOf(l, reader)), scaler));
    }
    if (!spec || layer.FindNorm(stage.producer) != nullptr || stage.producer.empty()) continue;
    // SmoothQuant folds into a linear only where it is told to.
    const Smoothed least = stage.name == "attn_out" ? Smoothed::kAll : Smoothed::kDown;
    if (recipe.smooth && recipe.smooth->where < least) continue;
    // Grouped-query attention: awq folds nothing into v.
    if (recipe.awq && layer.Linear(stage.producer).out != layer.Linear(first).in) continue;
    if (recipe.WeightsOf(l, stage.producer)) continue;
    refuse(fmt::format(
        "{} is kept but {} is {}, expected both kept or rounded: {} divides the one by the scales "
        "of the other",
        stage.producer, first, spec->Text(), scaler));
  }
}

}  // namespace

void RequireRules(const Recipe& recipe, const ModelLayout& layout) {
  if (recipe.rules.empty()) return;
  RequireOneRuleEach(recipe, layout);
  for (const WeightRule& rule : recipe.rules) RequireFit(recipe, rule, layout);
  bool rounds = recipe.head.has_value();
  ForLinears(layout, [&](size_t layer, const std::string& linear) {
    rounds = rounds || recipe.WeightsOf(layer, linear).has_value();
  });
  if (!rounds) {
    throw Error(ErrorKind::kUsage, Place(fmt::format("recipe '{}'", recipe.Text())),
                "its rules keep every linear, expected one to round");
  }
  if (!recipe.Rescales()) return;
  for (size_t l = 0; l < layout.layers.size(); ++l) RequireWhatCanBeScaled(recipe, l, layout.layers[l]);
}

}  // namespace lowbit
