// SPDX-License-Identifier: Apache-2.0
#include "lowbit/cli/show_items.h"

#include <fmt/format.h>

#include <charconv>
#include <cstdint>

#include "lowbit/base/json.h"

namespace lowbit {
namespace {

// Tokens between bars, line ends made visible: "Question|:| How".
std::string WithBorders(const Tokenizer& tokenizer, std::span<const int32_t> ids) {
  std::string text;
  for (const int32_t id : ids) {
    if (!text.empty()) text += "|";
    for (const char c : tokenizer.TokenBytes(id)) {
      if (c == '\n') {
        text += "\\n";
      } else {
        text += c;
      }
    }
  }
  return Printable(text, SIZE_MAX);
}

void PrintItem(const MultipleChoiceSet& set, const MultipleChoiceItem& item, size_t index,
               std::span<const TokenPair> pairs, const Tokenizer& tokenizer) {
  fmt::print("{} item {}{}\n", set.task, index,
             set.subsets.empty() ? "" : fmt::format(" ({})", set.subsets[item.subset].name));
  for (size_t choice = 0; choice < pairs.size(); ++choice) {
    if (choice == 0 || item.contexts.size() > 1)
      fmt::print("  context   {}\n", WithBorders(tokenizer, pairs[choice].context));
    fmt::print("  choice {} {} {}\n", choice, choice == item.gold ? "*" : " ",
               WithBorders(tokenizer, pairs[choice].continuation));
  }
}

Json ToJson(const MultipleChoiceSet& set, const MultipleChoiceItem& item, size_t index,
            std::span<const TokenPair> pairs, size_t shots) {
  Json json = {{"task", set.task}};
  if (!set.subsets.empty()) json["subject"] = set.subsets[item.subset].name;
  json["index"] = index;
  for (size_t choice = 0; choice < pairs.size(); ++choice) {
    json["requests"].push_back({ContextOf(set, item, choice, shots), ContinuationOf(item, choice)});
    json["characters"].push_back(item.lengths[choice].characters);
    json["bytes"].push_back(item.lengths[choice].bytes);
    json["context_ids"].push_back(pairs[choice].context);
    json["continuation_ids"].push_back(pairs[choice].continuation);
  }
  json["gold"] = item.gold;
  return json;
}

}  // namespace

size_t ParseShownItems(const std::string& text) {
  if (text == "all") return SIZE_MAX;
  size_t items = 0;
  const char* end = text.data() + text.size();
  const auto [stopped, code] = std::from_chars(text.data(), end, items);
  if (code == std::errc() && stopped == end && items > 0) return items;
  throw Error(ErrorKind::kUsage,
              fmt::format("--show '{}', expected a number of items or 'all'", Printable(text, 60)));
}

void ShowItems(const MultipleChoiceSet& set, const Tokenizer& tokenizer, const PairOptions& options,
               size_t items, bool json) {
  for (size_t i = 0; i < std::min(items, set.items.size()); ++i) {
    const MultipleChoiceItem& item = set.items[i];
    const std::vector<TokenPair> pairs = EncodeItem(tokenizer, set, item, options);
    if (json) {
      fmt::print("{}\n", ToJson(set, item, i, pairs, ShotsOf(tokenizer, set, item, options)).dump());
    } else {
      PrintItem(set, item, i, pairs, tokenizer);
    }
  }
}

}  // namespace lowbit
