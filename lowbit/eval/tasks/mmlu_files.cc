// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/tasks/mmlu_files.h"

#include <algorithm>
#include <filesystem>

#include "lowbit/eval/data_files.h"
#include "lowbit/text/csv_file.h"

namespace lowbit {
namespace fs = std::filesystem;
namespace {

constexpr size_t kChoices = 4, kColumns = 6;
constexpr std::string_view kLetters = "ABCD";
constexpr std::array<std::string_view, 2> kEnds = {".csv", ".jsonl"};

bool IsSubject(std::string_view name) {
  return std::ranges::any_of(MmluCategories(), [&](const MmluCategory& category) {
    return std::ranges::find(category.subjects, name) != category.subjects.end();
  });
}

MmluRow RowOf(const std::vector<std::string>& fields, const Place& line) {
  const std::string& answer = fields.back();
  const size_t gold = answer.size() == 1 ? kLetters.find(answer[0]) : kLetters.npos;
  if (gold == kLetters.npos) {
    throw Error(ErrorKind::kContent, Place(line).Item("field 6"),
                fmt::format("is '{}', expected the answer's letter, A to D", Printable(answer, 60)));
  }
  MmluRow row{fields[0], {}, gold};
  std::copy_n(fields.begin() + 1, kChoices, row.choices.begin());
  return row;
}

MmluRow RowOf(const Json& json, const Place& line) {
  MmluRow row{RequireString(json, "question", line), {}, RequireIndex(json, "answer", 0, kChoices, line)};
  const std::vector<std::string> choices = RequireStrings(json, "choices", line);
  if (choices.size() != kChoices) {
    throw Error(ErrorKind::kContent, Place(line).Key("choices"),
                fmt::format("has {} entries, expected {}", choices.size(), kChoices));
  }
  std::ranges::copy(choices, row.choices.begin());
  return row;
}

std::vector<MmluRow> ReadSubject(const std::string& path) {
  std::vector<MmluRow> rows;
  const Place file(path);
  if (WithoutCompression(path).ends_with(".jsonl")) {
    ForEachRow(path, [&](const Place& line, const Json& json) { rows.push_back(RowOf(json, line)); });
  } else {
    ForEachCsvRecord(path, kColumns, [&](size_t line, const std::vector<std::string>& fields) {
      rows.push_back(RowOf(fields, file.Line(line)));
    });
  }
  if (rows.empty())
    throw Error(ErrorKind::kContent, file, "holds no questions, expected CSV without a header");
  return rows;
}

// A split with all subjects: empty where the folder has none.
std::string WholeFile(const std::string& folder, const std::string& split) {
  const std::string name = split + ".jsonl";
  return FindDataFileIn(folder, std::array<std::string_view, 1>{name});
}

bool HoldsTest(const std::string& folder) {
  std::error_code code;
  return fs::is_directory(fs::path(folder) / "test", code) || !WholeFile(folder, "test").empty();
}

std::string FindFolder(const TaskOptions& options) {
  std::string tried;
  for (const std::string& data : DataFolders(options)) {
    const std::string folder = data + "/mmlu";
    if (HoldsTest(folder)) {
      WarnIfElsewhere(options, data, folder);
      return folder;
    }
    tried += (tried.empty() ? "" : ", ") + data;
  }
  throw Error(ErrorKind::kMissing, Place("mmlu/test"),
              fmt::format("not found in {}", tried.empty() ? "any data folder" : tried))
      .Hint("name the folder that holds it with --data or $LOWBIT_DATA");
}

// A file that no subject explains is a subject misspelt: it would be missing from the mean without a word.
void RequireKnownSubjects(const std::string& folder) {
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string file = entry.path().filename().string();
    for (const std::string_view end : kEnds) {
      std::string_view name = WithoutCompression(file);
      const std::string tail = "_test" + std::string(end);
      if (!name.ends_with(tail)) continue;
      name.remove_suffix(tail.size());
      if (!IsSubject(name))
        throw Error(ErrorKind::kContent, Place(entry.path().string()), "is none of MMLU's 57 subjects");
    }
  }
}

}  // namespace

const std::array<MmluCategory, 4>& MmluCategories() {
  static const std::array<MmluCategory, 4> categories = {{
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

MmluFiles::MmluFiles(const TaskOptions& options) : folder_(FindFolder(options)) {
  const std::string subjects = folder_ + "/test", all = WholeFile(folder_, "test");
  std::error_code code;
  const bool has_subjects = fs::is_directory(subjects, code);
  if (has_subjects && !all.empty())
    throw Error(ErrorKind::kContent, Place(all), fmt::format("stands beside {}, expected one", subjects));
  if (has_subjects) {
    RequireKnownSubjects(subjects);
    return;
  }
  for (const char* split : {"test", "dev"}) {
    const std::string path = WholeFile(folder_, split);
    if (path.empty()) continue;
    BySubject& rows = whole_[split];
    ForEachRow(path, [&](const Place& line, const Json& json) {
      const std::string subject = RequireString(json, "subject", line);
      if (!IsSubject(subject)) {
        throw Error(ErrorKind::kContent, Place(line).Key("subject"),
                    fmt::format("is '{}', none of MMLU's 57 subjects", Printable(subject, 60)));
      }
      rows[subject].push_back(RowOf(json, line));
    });
  }
}

std::string MmluFiles::PathOf(const std::string& split, const std::string& subject) const {
  if (!whole_.empty()) {
    const std::string path = WholeFile(folder_, split);
    return path.empty() ? fmt::format("{}/{}.jsonl", folder_, split) : path;
  }
  const std::string stem = fmt::format("{}/{}_{}", split, subject, split);
  const std::array<std::string, 2> names = {stem + std::string(kEnds[0]), stem + std::string(kEnds[1])};
  const std::string path = FindDataFileIn(folder_, std::array<std::string_view, 2>{names[0], names[1]});
  return path.empty() ? folder_ + "/" + names[0] : path;
}

std::vector<MmluRow> MmluFiles::Rows(const std::string& split, const std::string& subject) {
  const std::string path = PathOf(split, subject);
  std::error_code code;
  if (!fs::exists(path, code)) return {};
  std::vector<MmluRow> rows;
  if (whole_.empty()) {
    rows = ReadSubject(path);
  } else if (const auto found = whole_[split].find(subject); found != whole_[split].end()) {
    rows = found->second;
  }
  if (!rows.empty() && std::ranges::find(read_, path) == read_.end()) read_.push_back(path);
  return rows;
}

}  // namespace lowbit
