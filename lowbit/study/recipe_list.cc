// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/recipe_list.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

namespace lowbit {
namespace {

constexpr size_t kMaxOfStudy = 10000;
constexpr size_t kMaxOfGrid = 1000;  // recipes: what a slip of the pen makes is seen before it is planned

// A value of a grid's key, as it stands in a recipe.
struct GridValue {
  YamlReader where;
  std::string text;
  bool is_used = false;  // in a recipe that is not refused
  std::string refusal = {};
};

struct GridKey {
  std::string name;
  std::vector<GridValue> values;
};

// Joined behind a recipe's colon: "layers.0-3=w8-g64,tensor.down_proj=keep".
std::string RulesOf(const YamlReader& rules) {
  std::string text;
  for (const auto& [name, value] : rules.Pairs()) {
    const std::string weights = value.String();
    const bool is_rule = name.starts_with("layers.") || name.starts_with("tensor.");
    if (!is_rule || name.find_first_of(",=") != std::string::npos) {
      value.Fail(fmt::format("'{}', expected a rule as layers.0-3, tensor.down_proj or layers.0-3.down_proj",
                             Printable(name, 60)));
    }
    if (weights.find_first_of(",=") != std::string::npos)
      value.Fail(fmt::format("'{}', expected keep, or weights as w8-g64", Printable(weights, 60)));
    text += fmt::format("{}{}={}", text.empty() ? "" : ",", name, weights);
  }
  return text;
}

class Lister {
 public:
  void Read(const YamlReader& entry) {
    if (!entry.IsMap()) {
      Add(entry, entry.String());
    } else if (entry.Has("recipe")) {
      entry.Map({"recipe", "rules"});
      const std::string text = entry.Get("recipe").String();
      const std::string rules = entry.Has("rules") ? RulesOf(entry.Get("rules")) : "";
      const char* joint = rules.empty() ? "" : text.find(':') == std::string::npos ? ":" : ",";
      Add(entry, text + joint + rules);
    } else {
      ReadGrid(entry);
    }
  }

  RecipeList Take() { return std::move(list_); }

 private:
  static std::optional<Recipe> Parse(const std::string& text, std::optional<Error>& refusal) {
    try {
      return ParseRecipe(text);
    } catch (const Error& e) {
      refusal = e;
      return std::nullopt;
    }
  }

  void Add(const YamlReader& entry, const std::string& text) {
    std::optional<Error> refusal;
    const std::optional<Recipe> recipe = Parse(text, refusal);
    if (!recipe) throw Error(ErrorKind::kContent, entry.place(), refusal->what());
    Add(entry, text, *recipe);
  }

  void Add(const YamlReader& entry, const std::string& text, const Recipe& recipe) {
    const auto [known, is_new] = at_.try_emplace(recipe.Text(), list_.recipes.size());
    if (!is_new) {
      const ListedRecipe& first = list_.recipes[known->second];
      entry.Fail(fmt::format("'{}' is there twice, first as '{}' in {}", Printable(text, 120),
                             Printable(first.written, 120), first.place.item()));
    }
    list_.recipes.push_back({recipe, text, entry.place()});
  }

  void ReadGrid(const YamlReader& entry) {
    entry.Map({"methods", "bits", "activations", "groups", "symmetric", "options", "rules", "skip_refused"});
    std::vector<GridKey> keys = KeysOf(entry);
    const std::string rules = entry.Has("rules") ? RulesOf(entry.Get("rules")) : "";
    const bool skips = entry.Has("skip_refused") && entry.Get("skip_refused").Bool();
    size_t count = 1;
    for (const GridKey& key : keys) {
      count *= key.values.size();
      if (count > kMaxOfGrid)
        entry.Fail(fmt::format("more than {} recipes in one grid, expected fewer", kMaxOfGrid));
    }
    if (list_.recipes.size() + list_.left_out.size() + count > kMaxOfStudy)
      entry.Fail(fmt::format("more than {} recipes in one study, expected fewer", kMaxOfStudy));
    for (size_t i = 0; i < count; ++i) AddOfGrid(entry, keys, i, rules, skips);
    for (const GridKey& key : keys) {
      for (const GridValue& value : key.values) {
        if (value.is_used) continue;
        throw Error(ErrorKind::kContent, value.where.place(),
                    fmt::format("every recipe with {} is left out: {}", key.name, value.refusal));
      }
    }
  }

  static std::vector<GridKey> KeysOf(const YamlReader& entry) {
    std::vector<GridKey> keys;
    const auto add = [&](const char* name, auto&& text_of) {
      GridKey& key = keys.emplace_back(GridKey{name, {}});
      for (const YamlReader& value : entry.Get(name).ListOrOne())
        key.values.push_back({.where = value, .text = text_of(value)});
    };
    const auto or_nothing = [&](const char* name, auto&& text_of) {
      if (entry.Has(name)) return add(name, text_of);
      keys.push_back({name, {{.where = entry, .text = ""}}});
    };
    add("methods", [](const YamlReader& value) {
      std::string text = value.String();
      if (const std::string name = text.substr(0, text.find(':')); name.find('-') != std::string::npos) {
        value.Fail(
            fmt::format("'{}', expected a method as gptq or gptq:act_order=true", Printable(text, 60)));
      }
      return text;
    });
    add("bits", [](const YamlReader& value) { return fmt::format("-w{}", value.Count()); });
    or_nothing("activations", [](const YamlReader& value) {
      return value.Text() == "none" ? std::string() : fmt::format("a{}", value.Count());
    });
    add("groups", [](const YamlReader& value) {
      return value.Text() == "channel" ? "-channel" : fmt::format("-g{}", value.Count());
    });
    or_nothing("symmetric", [](const YamlReader& value) { return value.Bool() ? "-sym" : ""; });
    or_nothing("options", [](const YamlReader& value) { return value.Text(); });
    return keys;
  }

  // Recipe `index` of a grid. A method's own options come first.
  void AddOfGrid(const YamlReader& entry, std::vector<GridKey>& keys, size_t index, const std::string& rules,
                 bool skips) {
    std::vector<GridValue*> values(keys.size());
    for (size_t k = keys.size(); k-- > 0; index /= keys[k].values.size())
      values[k] = &keys[k].values[index % keys[k].values.size()];
    const std::string& method = values[0]->text;
    const size_t colon = std::min(method.find(':'), method.size());
    std::string text = method.substr(0, colon);
    for (size_t k = 1; k + 1 < values.size(); ++k) text += values[k]->text;
    char joint = ':';
    for (const std::string& options :
         {method.substr(std::min(colon + 1, method.size())), values.back()->text, rules}) {
      if (!options.empty()) text += std::exchange(joint, ',') + options;
    }
    std::optional<Error> refusal;
    const std::optional<Recipe> recipe = Parse(text, refusal);
    if (recipe) {
      for (GridValue* value : values) value->is_used = true;
      return Add(entry, text, *recipe);
    }
    if (!skips) {
      throw Error(ErrorKind::kContent, entry.place(), refusal->what())
          .Hint("skip_refused: true leaves such recipes out and says so");
    }
    list_.left_out.push_back(fmt::format("{}: {}", Printable(text, 120), refusal->message()));
    for (GridValue* value : values) value->refusal = refusal->what();
  }

  RecipeList list_;
  std::map<std::string, size_t> at_;  // by canonical text
};

}  // namespace

RecipeList ReadRecipes(const YamlReader& list) {
  Lister lister;
  for (const YamlReader& entry : list.List()) lister.Read(entry);
  return lister.Take();
}

}  // namespace lowbit
