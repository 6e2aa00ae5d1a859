// SPDX-License-Identifier: Apache-2.0
// MMLU: questions of 57 subjects with four answers, of which only the letter is scored. Examples are the first
// items of a subject's dev file.
#include <algorithm>
#include <array>
#include <filesystem>

#include "lowbit/eval/data_files.h"
#include "lowbit/eval/tasks/readers.h"
#include "lowbit/text/csv_file.h"
#include "lowbit/text/python_text.h"

namespace lowbit {
namespace fs = std::filesystem;
namespace {

constexpr size_t kChoices = 4, kColumns = 6, kOfficialItems = 14042, kSubjects = 57;
constexpr size_t kStudyShots = 5, kStudyPrompt = 2048;
constexpr std::string_view kLetters = "ABCD";

struct Category {
  std::string_view name;
  std::vector<std::string_view> subjects;
};

// As lm-evaluation-harness groups them; anatomy is under "other" in the original paper.
const std::array<Category, 4>& Categories() {
  static const std::array<Category, 4> categories = {{
      {"stem",
       {"abstract_algebra", "anatomy", "astronomy", "college_biology", "college_chemistry",
        "college_computer_science", "college_mathematics", "college_physics", "computer_security",
        "conceptual_physics", "electrical_engineering", "elementary_mathematics", "high_school_biology",
        "high_school_chemistry", "high_school_computer_science", "high_school_mathematics",
        "high_school_physics", "high_school_statistics", "machine_learning"}},
      {"other",
       {"business_ethics", "clinical_knowledge", "college_medicine", "global_facts", "human_aging",
        "management", "marketing", "medical_genetics", "miscellaneous", "nutrition",
        "professional_accounting", "professional_medicine", "virology"}},
      {"social_sciences",
       {"econometrics", "high_school_geography", "high_school_government_and_politics",
        "high_school_macroeconomics", "high_school_microeconomics", "high_school_psychology",
        "human_sexuality", "professional_psychology", "public_relations", "security_studies", "sociology",
        "us_foreign_policy"}},
      {"humanities",
       {"formal_logic", "high_school_european_history", "high_school_us_history", "high_school_world_history",
        "international_law", "jurisprudence", "logical_fallacies", "moral_disputes", "moral_scenarios",
        "philosophy", "prehistory", "professional_law", "world_religions"}},
  }};
  return categories;
}

// Who asks. Both put the same questions behind the same words, but for white space.
enum class Style : uint8_t { kHarness, kStudy };

struct Question {
  std::string block;  // up to "Answer:"
  size_t gold = 0;
};

std::vector<Question> ReadQuestions(const std::string& path, Style style) {
  std::vector<Question> questions;
  const Place file(path);
  ForEachCsvRecord(path, kColumns, [&](size_t line, const std::vector<std::string>& fields) {
    const std::string& answer = fields.back();
    const size_t gold = answer.size() == 1 ? kLetters.find(answer[0]) : kLetters.npos;
    if (gold == kLetters.npos) {
      throw Error(ErrorKind::kContent, file.Line(line).Item("field 6"),
                  fmt::format("is '{}', expected the answer's letter, A to D", Printable(answer, 60)));
    }
    std::string block(style == Style::kHarness ? Strip(fields[0]) : fields[0]);
    for (size_t i = 0; i < kChoices; ++i) block += fmt::format("\n{}. {}", kLetters[i], fields[i + 1]);
    questions.push_back({block + "\nAnswer:", gold});
  });
  if (questions.empty())
    throw Error(ErrorKind::kContent, file, "holds no questions, expected CSV without a header");
  return questions;
}

// The first folder of data sets that holds MMLU's test files.
std::string FindFolder(const TaskOptions& options) {
  std::string tried;
  for (const std::string& folder : DataFolders(options)) {
    std::error_code code;
    if (fs::is_directory(fs::path(folder) / "mmlu" / "test", code)) {
      WarnIfElsewhere(options, folder, folder + "/mmlu");
      return folder + "/mmlu";
    }
    tried += (tried.empty() ? "" : ", ") + folder;
  }
  throw Error(ErrorKind::kMissing, Place("mmlu/test"),
              fmt::format("not found in {}", tried.empty() ? "any data folder" : tried))
      .Hint("name the folder that holds it with --data or $LOWBIT_DATA");
}

std::string FileOf(const std::string& folder, const std::string& split, std::string_view subject) {
  const std::string name = fmt::format("{}/{}_{}.csv", split, subject, split);
  const std::array<std::string_view, 1> names = {name};
  return FindDataFileIn(folder, names);
}

// A file that no subject explains is a subject misspelt: it would be missing from the mean without a word.
void RequireKnownSubjects(const std::string& folder) {
  constexpr std::string_view kEnd = "_test.csv";
  for (const auto& entry : fs::directory_iterator(folder + "/test")) {
    const std::string file = entry.path().filename().string();
    std::string_view name = WithoutCompression(file);
    if (!name.ends_with(kEnd)) continue;
    name.remove_suffix(kEnd.size());
    const bool is_known = std::ranges::any_of(Categories(), [&](const Category& category) {
      return std::ranges::find(category.subjects, name) != category.subjects.end();
    });
    if (is_known) continue;
    throw Error(ErrorKind::kContent, Place(entry.path().string()), "is none of MMLU's 57 subjects");
  }
}

std::string Header(std::string_view subject, Style style) {
  return fmt::format("The following are multiple choice questions (with answers) about {}{}.\n\n",
                     style == Style::kStudy ? " " : "", ReplaceAll(subject, "_", " "));
}

// Header and examples; `files` gets the examples' file.
TaskSubset SubsetOf(const std::string& folder, std::string_view subject, std::string_view category,
                    Style style, size_t shots, std::vector<std::string>& files) {
  TaskSubset subset{std::string(subject), std::string(category), Header(subject, style)};
  subset.prefix_ends.push_back(subset.prefix.size());
  if (shots == 0) return subset;
  const std::string path = FileOf(folder, "dev", subject);
  if (path.empty()) {
    throw Error(ErrorKind::kMissing, Place(fmt::format("{}/dev/{}_dev.csv", folder, subject)),
                "is not there, expected the subject's examples");
  }
  files.push_back(path);
  const std::vector<Question> questions = ReadQuestions(path, style);
  if (questions.size() < shots) {
    throw Error(ErrorKind::kUsage, Place(path),
                fmt::format("holds {} examples, fewer than --num-fewshot {}", questions.size(), shots));
  }
  for (size_t i = 0; i < shots; ++i) {
    subset.prefix += fmt::format("{} {}\n\n", questions[i].block, kLetters[questions[i].gold]);
    subset.prefix_ends.push_back(subset.prefix.size());
  }
  return subset;
}

// Fills in subsets, items and the files' hash.
void ReadSubjects(const TaskOptions& options, Style style, MultipleChoiceSet& set) {
  const std::string folder = FindFolder(options);
  RequireKnownSubjects(folder);
  const std::array<std::string, kChoices> letters = {"A", "B", "C", "D"};
  std::vector<std::string> files;
  for (const Category& category : Categories()) {
    for (const std::string_view subject : category.subjects) {
      const std::string path = FileOf(folder, "test", subject);
      if (path.empty()) continue;
      files.push_back(path);
      const size_t subset = set.subsets.size();
      set.subsets.push_back(SubsetOf(folder, subject, category.name, style, set.shots, files));
      for (const Question& question : ReadQuestions(path, style)) {
        set.items.push_back(
            ItemOf(question.block, letters, question.gold, Place(path), style == Style::kStudy ? "" : " "));
        set.items.back().subset = subset;
      }
    }
  }
  if (files.empty())
    throw Error(ErrorKind::kMissing, Place(folder + "/test"), "holds no subject's SUBJECT_test.csv");
  set.data_hash = HashOfFiles(files);
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
