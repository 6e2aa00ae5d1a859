// SPDX-License-Identifier: Apache-2.0
// MMLU's questions on disk: a CSV without a header or rows of the hub as JSON lines for each subject, or a split of the hub
// with all subjects in one file.
#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/eval/task.h"

namespace lowbit {

struct MmluRow {
  std::string question;
  std::array<std::string, 4> choices;
  size_t gold = 0;
};

// Subjects of a category, as lm-evaluation-harness groups them; anatomy is under "other" in the original paper.
struct MmluCategory {
  std::string_view name;
  std::vector<std::string_view> subjects;
};
const std::array<MmluCategory, 4>& MmluCategories();

class MmluFiles {
 public:
  // In the first data folder that holds test questions. Throws Error{kMissing} where none does, Error{kContent} for a file
  // of a subject that is none.
  explicit MmluFiles(const TaskOptions& options);

  // `split`: "test" or "dev". Empty: it has none of that subject. Throws Error{kContent} naming file, line and field.
  std::vector<MmluRow> Rows(const std::string& split, const std::string& subject);

  // Where Rows(split, subject) reads, or would.
  std::string PathOf(const std::string& split, const std::string& subject) const;

  const std::string& folder() const { return folder_; }
  const std::vector<std::string>& read() const {
    return read_;
  }  // files, each once, in the order they were asked for

 private:
  using BySubject = std::map<std::string, std::vector<MmluRow>, std::less<>>;

  std::string folder_;
  std::map<std::string, BySubject> whole_;  // splits that are one file
  std::vector<std::string> read_;
};

}  // namespace lowbit
