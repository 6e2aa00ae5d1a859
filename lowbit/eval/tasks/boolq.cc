// SPDX-License-Identifier: Apache-2.0
// BoolQ: yes or no, from a passage.
#include <array>

#include "lowbit/eval/data_files.h"
#include "lowbit/eval/tasks/readers.h"

namespace lowbit {
namespace {

constexpr std::array<std::string_view, 4> kNames = {"boolq/dev.jsonl", "boolq/validation.jsonl",
                                                    "boolq/val.jsonl", "boolq/valid.jsonl"};

// "answer" of the data set's own files, or "label" of SuperGLUE's: true, false, 0 or 1.
size_t GoldOf(const Json& row, const Place& place) {
  const char* key = row.contains("label") ? "label" : "answer";
  if (!row.contains(key))
    throw Error(ErrorKind::kContent, place, "has neither a key 'answer' nor a key 'label'");
  const Json& member = row.at(key);
  return member.is_boolean() ? (member.get<bool>() ? 1 : 0) : RequireIndex(row, key, 0, 2, place);
}

}  // namespace

MultipleChoiceSet ReadBoolQ(const TaskOptions& options) {
  RequireNoShots(options, "boolq");
  MultipleChoiceSet set{.task = "boolq", .source = "BoolQ validation", .official_items = 3270};
  const std::array<std::string, 1> files = {FindDataFile(kNames, options)};
  const std::array<std::string, 2> choices = {"no", "yes"};
  ForEachRow(files[0], [&](const Place& place, const Json& row) {
    const std::string context =
        fmt::format("{}\nQuestion: {}?\nAnswer:", RequireString(row, "passage", place),
                    RequireString(row, "question", place));
    set.items.push_back(ItemOf(context, choices, GoldOf(row, place), place));
  });
  set.data_hash = HashOfFiles(files);
  return set;
}

}  // namespace lowbit
