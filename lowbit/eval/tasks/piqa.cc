// SPDX-License-Identifier: Apache-2.0
// PIQA: which of two ways reaches a goal?
#include <array>

#include "lowbit/eval/data_files.h"
#include "lowbit/eval/tasks/readers.h"

namespace lowbit {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"piqa/valid.jsonl", "piqa/validation.jsonl",
                                                    "piqa/valid.json"};
constexpr size_t kChoices = 2;

// The official layout keeps labels in a file of their own, one on a line.
struct Labels {
  std::string path;  // empty: there is none
  std::vector<size_t> values;
};

Labels ReadLabels(const std::string& data_path) {
  const std::array<std::string, 1> names = {WithoutExtensions(data_path) + "-labels.lst"};
  const std::array<std::string_view, 1> views = {names[0]};
  Labels labels;
  labels.path = FindDataFileIn("", views);
  if (labels.path.empty()) return labels;
  const std::string text = ReadTextFile(labels.path);
  std::string_view rest = text;
  for (size_t line = 1; !rest.empty(); ++line) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    std::string_view value = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (value.ends_with('\r')) value.remove_suffix(1);
    if (value != "0" && value != "1") {
      throw Error(ErrorKind::kContent, Place(labels.path).Line(line),
                  fmt::format("is '{}', expected 0 or 1", Printable(value, 60)));
    }
    labels.values.push_back(value == "1" ? 1 : 0);
  }
  return labels;
}

size_t GoldOf(const Json& row, const Labels& labels, size_t index, const Place& place) {
  if (labels.path.empty()) return RequireIndex(row, "label", 0, kChoices, place);
  if (index >= labels.values.size()) {
    throw Error(
        ErrorKind::kContent, Place(labels.path),
        fmt::format("holds {} labels, expected one for each item of {}", labels.values.size(), place.file()));
  }
  const size_t gold = labels.values[index];
  if (row.contains("label") && RequireIndex(row, "label", 0, kChoices, place) != gold) {
    throw Error(ErrorKind::kContent, place.Key("label"),
                fmt::format("is not that of {} line {}", labels.path, index + 1));
  }
  return gold;
}

}  // namespace

MultipleChoiceSet ReadPiqa(const TaskOptions& options) {
  RequireNoShots(options, "piqa");
  MultipleChoiceSet set{
      .task = "piqa", .source = "PIQA validation", .official_items = 1838, .normalizes = true};
  std::vector<std::string> files = {FindDataFile(kNames, options)};
  const Labels labels = ReadLabels(files[0]);
  ForEachRow(files[0], [&](const Place& place, const Json& row) {
    const std::array<std::string, kChoices> choices = {RequireString(row, "sol1", place),
                                                       RequireString(row, "sol2", place)};
    const size_t gold = GoldOf(row, labels, set.items.size(), place);
    set.items.push_back(ItemOf(fmt::format("Question: {}\nAnswer:", RequireString(row, "goal", place)),
                               choices, gold, place));
  });
  if (!labels.path.empty()) {
    if (labels.values.size() != set.items.size()) {
      throw Error(ErrorKind::kContent, Place(labels.path),
                  fmt::format("holds {} labels for {} items of {}", labels.values.size(), set.items.size(),
                              files[0]));
    }
    files.push_back(labels.path);
  }
  set.data_hash = HashOfFiles(files);
  return set;
}

}  // namespace lowbit
