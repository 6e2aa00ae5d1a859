// SPDX-License-Identifier: Apache-2.0
// HellaSwag: which of four endings continues a text of daily life?
#include <array>

#include "lowbit/eval/data_files.h"
#include "lowbit/eval/tasks/readers.h"
#include "lowbit/text/python_text.h"

namespace lowbit {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"hellaswag/hellaswag_val.jsonl",
                                                    "hellaswag/validation.jsonl", "hellaswag/val.jsonl"};
constexpr size_t kEndings = 4;

// Without every shortest "[…]" on one line. Linear: what a failed search has seen is not looked at again.
std::string WithoutBrackets(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const size_t open = std::min(text.find('['), text.size());
    out += text.substr(0, open);
    text.remove_prefix(open);
    const size_t end = std::min(text.find_first_of("]\n"), text.size());
    const bool closed = end < text.size() && text[end] == ']';
    if (!closed) out += text.substr(0, end);
    text.remove_prefix(closed ? end + 1 : end);
    if (!closed && !text.empty()) {  // the line's end, which no bracket reaches over
      out += '\n';
      text.remove_prefix(1);
    }
  }
  return out;
}

// The marks of the WikiHow part; what they leave behind is not stripped again.
std::string Clean(std::string_view text) {
  return ReplaceAll(WithoutBrackets(ReplaceAll(Strip(text), " [title]", ". ")), "  ", " ");
}

}  // namespace

MultipleChoiceSet ReadHellaSwag(const TaskOptions& options) {
  RequireNoShots(options, "hellaswag");
  MultipleChoiceSet set{
      .task = "hellaswag", .source = "HellaSwag validation", .official_items = 10042, .normalizes = true};
  const std::array<std::string, 1> files = {FindDataFile(kNames, options)};
  ForEachRow(files[0], [&](const Place& place, const Json& row) {
    std::vector<std::string> endings = RequireStrings(row, "endings", place);
    if (endings.size() != kEndings) {
      throw Error(ErrorKind::kContent, place.Key("endings"),
                  fmt::format("holds {}, expected {}", endings.size(), kEndings));
    }
    for (std::string& ending : endings) ending = Clean(ending);
    const std::string context = RequireString(row, "activity_label", place) + ": " +
                                RequireString(row, "ctx_a", place) + " " +
                                Capitalize(RequireString(row, "ctx_b", place));
    set.items.push_back(
        ItemOf(Clean(context), endings, RequireIndex(row, "label", 0, kEndings, place), place));
  });
  set.data_hash = HashOfFiles(files);
  return set;
}

}  // namespace lowbit
