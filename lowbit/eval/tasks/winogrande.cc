// SPDX-License-Identifier: Apache-2.0
// WinoGrande: which of two words fills a blank? By partial scoring: both choices have the same continuation, what
// stands behind the blank, after different contexts.
#include <array>

#include "lowbit/eval/data_files.h"
#include "lowbit/eval/tasks/readers.h"
#include "lowbit/text/python_text.h"

namespace lowbit {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"winogrande/dev.jsonl", "winogrande/validation.jsonl",
                                                    "winogrande/valid.jsonl"};
constexpr size_t kOptions = 2;

MultipleChoiceItem Render(const Json& row, const Place& place) {
  const std::string& sentence = RequireString(row, "sentence", place);
  const size_t blank = sentence.find('_');
  if (blank == sentence.npos)
    throw Error(ErrorKind::kContent, place.Key("sentence"), "has no '_', expected a blank to be filled");
  MultipleChoiceItem item;
  for (const char* key : {"option1", "option2"}) {
    const std::string& context =
        item.contexts.emplace_back(sentence.substr(0, blank) + RequireString(row, key, place));
    item.lengths.push_back({CodePointCount(context), context.size()});
  }
  const std::string_view tail = Strip(std::string_view(sentence).substr(blank + 1));
  if (tail.empty())
    throw Error(ErrorKind::kContent, place.Key("sentence"), "ends with its blank: nothing is left to score");
  item.continuations.push_back(fmt::format(" {}", tail));
  item.gold = RequireIndex(row, "answer", 1, kOptions, place);
  return item;
}

}  // namespace

MultipleChoiceSet ReadWinoGrande(const TaskOptions& options) {
  RequireNoShots(options, "winogrande");
  MultipleChoiceSet set{.task = "winogrande", .source = "WinoGrande XL validation", .official_items = 1267};
  const std::array<std::string, 1> files = {FindDataFile(kNames, options)};
  ForEachRow(files[0], [&](const Place& place, const Json& row) { set.items.push_back(Render(row, place)); });
  set.data_hash = HashOfFiles(files);
  return set;
}

}  // namespace lowbit
