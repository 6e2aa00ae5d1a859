// SPDX-License-Identifier: Apache-2.0
// MMLU: questions of 57 subjects with four answers, of which only the letter is scored. Examples are the first
// items of a subject's dev file.
#include <array>

#include "lowbit/eval/data_files.h"
#include "lowbit/eval/tasks/mmlu_files.h"
#include "lowbit/eval/tasks/readers.h"
#include "lowbit/text/python_text.h"

namespace lowbit {
namespace {

constexpr size_t kOfficialItems = 14042, kSubjects = 57;
constexpr size_t kStudyShots = 5, kStudyPrompt = 2048;
constexpr std::string_view kLetters = "ABCD";

// Who asks. Both put the same questions behind the same words, but for white space.
enum class Style : uint8_t { kHarness, kStudy };

// Up to "Answer:".
std::string BlockOf(const MmluRow& row, Style style) {
  std::string block(style == Style::kHarness ? Strip(row.question) : row.question);
  for (size_t i = 0; i < row.choices.size(); ++i)
    block += fmt::format("\n{}. {}", kLetters[i], row.choices[i]);
  return block + "\nAnswer:";
}

std::string Header(std::string_view subject, Style style) {
  return fmt::format("The following are multiple choice questions (with answers) about {}{}.\n\n",
                     style == Style::kStudy ? " " : "", ReplaceAll(subject, "_", " "));
}

// Header and examples.
TaskSubset SubsetOf(MmluFiles& files, const std::string& subject, std::string_view category, Style style,
                    size_t shots) {
  TaskSubset subset{subject, std::string(category), Header(subject, style)};
  subset.prefix_ends.push_back(subset.prefix.size());
  if (shots == 0) return subset;
  const std::vector<MmluRow> rows = files.Rows("dev", subject);
  const Place place(files.PathOf("dev", subject));
  if (rows.empty()) throw Error(ErrorKind::kMissing, place, fmt::format("has no examples of {}", subject));
  if (rows.size() < shots) {
    throw Error(
        ErrorKind::kUsage, place,
        fmt::format("holds {} examples of {}, fewer than --num-fewshot {}", rows.size(), subject, shots));
  }
  for (size_t i = 0; i < shots; ++i) {
    subset.prefix += fmt::format("{} {}\n\n", BlockOf(rows[i], style), kLetters[rows[i].gold]);
    subset.prefix_ends.push_back(subset.prefix.size());
  }
  return subset;
}

// Fills in subsets, items and the files' hash.
void ReadSubjects(const TaskOptions& options, Style style, MultipleChoiceSet& set) {
  MmluFiles files(options);
  const std::array<std::string, 4> letters = {"A", "B", "C", "D"};
  for (const MmluCategory& category : MmluCategories()) {
    for (const std::string_view name : category.subjects) {
      const std::string subject(name);
      const std::vector<MmluRow> rows = files.Rows("test", subject);
      if (rows.empty()) continue;
      const size_t index = set.subsets.size();
      set.subsets.push_back(SubsetOf(files, subject, category.name, style, set.shots));
      const Place place(files.PathOf("test", subject));
      for (const MmluRow& row : rows) {
        set.items.push_back(
            ItemOf(BlockOf(row, style), letters, row.gold, place, style == Style::kStudy ? "" : " "));
        set.items.back().subset = index;
      }
    }
  }
  if (set.items.empty())
    throw Error(ErrorKind::kMissing, Place(files.folder() + "/test"), "holds no subject's SUBJECT_test.csv");
  set.data_hash = HashOfFiles(files.read());
}

}  // namespace

MultipleChoiceSet ReadMmlu(const TaskOptions& options) {
  MultipleChoiceSet set{.task = "mmlu",
                        .source = "MMLU test",
                        .official_items = kOfficialItems,
                        .shots = options.shots.value_or(0),
                        .official_subsets = kSubjects};
  ReadSubjects(options, Style::kHarness, set);
  return set;
}

MultipleChoiceSet ReadMmluStudy(const TaskOptions& options) {
  MultipleChoiceSet set{.task = "mmlu@study",
                        .source = "MMLU test, bare letters",
                        .asked_by = "the Qwen3 quantization study",
                        .official_items = kOfficialItems,
                        .shots = options.shots.value_or(kStudyShots),
                        .max_prompt = kStudyPrompt,
                        .official_subsets = kSubjects};
  ReadSubjects(options, Style::kStudy, set);
  return set;
}

}  // namespace lowbit
