// SPDX-License-Identifier: Apache-2.0
// Room eval: numbers that say how good a model is.
// In:  a Scorer (scorer.h), a tokenizer, texts.   Out: measurements with standard errors and a named
// protocol. Non-goals: how the model was quantized, where results are kept (study). Start reading here, then
// tasks.cc (the table), perplexity.h, and multiple_choice.h with one reader a task in tasks/.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/eval/multiple_choice.h"
#include "lowbit/eval/outcomes.h"

namespace lowbit {

struct Measurement {
  std::string name;  // "perplexity"
  double value = 0;
  std::optional<double> std_error;
  size_t n = 0;  // what was measured: predicted tokens, items
  bool higher_is_better = false;
};

struct TaskResult {
  std::string task;       // as asked for
  std::string protocol;   // everything that must be equal for two numbers to be comparable
  std::string data_hash;  // SHA-256 of the text
  std::vector<Measurement> measurements;
  std::string counted = "tokens";        // what the measurements' n are
  std::vector<Measurement> parts = {};   // of subsets, by their names: MMLU's subjects
  std::vector<ItemScore> items = {};     // of a multiple-choice task, in order
  std::vector<WindowLoss> windows = {};  // of a text
  ScoreCounts tokens = {};               // of a multiple-choice task
};

// What is kept of a result to compare it with another model's.
Outcomes OutcomesOf(const TaskResult& result);

// What the user may set. Zero means the task's default.
struct TaskOptions {
  size_t window = 0;             // of perplexity: tokens per window
  size_t windows = 0;            // of perplexity: at most this many windows; 0 = all
  size_t windows_per_batch = 0;  // or requests; 0 = all at once; never changes a result
  std::string data_folder = {};  // where to look for data sets first
  // Of multiple choice:
  size_t limit = 0;                            // the first items only, of MMLU of each subject; 0 = all
  std::optional<size_t> shots = std::nullopt;  // solved examples before each question
  BosRule bos = BosRule::kAuto;
};

// An option that only some tasks know.
enum class TaskOption : uint8_t { kWindow, kWindows, kLimit, kShots, kBos };

class Reference;  // divergence.h

// A task bound to its data and options: read, checked and hashed, not yet tokenized or scored.
class Task {
 public:
  virtual ~Task() = default;
  virtual std::string Name() const = 0;  // "wikitext2", "text:FILE", "piqa"
  virtual std::string DataHash() const = 0;
  virtual std::string Settings()
      const = 0;  // canonical text of what changes the result: part of a cell's key
  // What Run will ask of a model of this structure. Throws Error{kContent} when the text is too short.
  virtual ForwardJob Job(const Tokenizer& tokenizer, const ModelConfig& config) const = 0;
  // The items of a multiple-choice task; nullptr for others.
  virtual const MultipleChoiceSet* Choices() const { return nullptr; }
  // Whether `option` changes what this task does.
  virtual bool Takes(TaskOption option) const = 0;
  // Whether Run has use for a reference.
  virtual bool ComparesModels() const { return false; }
  // `reference`, where there is one and the task compares models, is this task's full-precision side: a run of
  // that model fills it, and a run of another one also measures the divergence.
  // Throws Error{kContent} when the text is too short, Error{kNumeric} when a score is not finite.
  virtual TaskResult Run(const Scorer& scorer, const Tokenizer& tokenizer, Reference* reference) const = 0;
};

struct TaskInfo {
  std::string_view name;  // "wikitext2", or a prefix that takes a file, "text:"
  std::string_view description;
  std::unique_ptr<Task> (*make)(std::string_view argument, const TaskOptions&);
};
const std::vector<TaskInfo>& Tasks();

// Makes the task called `name`. Throws Error{kUsage} for an unknown name, Error{kMissing} or
// Error{kContent} for its data.
std::unique_ptr<Task> MakeTask(std::string_view name, const TaskOptions& options);

// Throws Error{kUsage} for an option that is set and that none of `tasks` knows.
void RequireUsed(const TaskOptions& options, std::span<const std::unique_ptr<Task>> tasks);

// Folders searched for data sets, in order: options.data_folder, $LOWBIT_DATA, data/ of the source tree or
// of the installation beside the running program.
std::vector<std::string> DataFolders(const TaskOptions& options);

}  // namespace lowbit
