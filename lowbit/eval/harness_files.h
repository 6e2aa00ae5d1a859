// SPDX-License-Identifier: Apache-2.0
// Results and samples in the files of lm-evaluation-harness 0.4, for the tools that read those: what --output-path and
// --log-samples write there. Nothing in them depends on when, how fast or in which batches it was measured.
// docs/evaluation.md.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lowbit/base/json.h"
#include "lowbit/eval/task.h"

namespace lowbit {

struct HarnessRun {
  std::string model;      // the folder, as the user named it
  std::string compute;    // "f32"
  std::string bos;        // "auto", "on", "off"
  size_t max_length = 0;  // tokens a model may see
  size_t limit = 0;       // 0: none
};

struct HarnessTask {
  const TaskResult& result;
  const MultipleChoiceSet* set = nullptr;  // of a multiple-choice task
};

// A samples file of a task: its name there, and a line of JSON for each item. Windows of texts are items with a "loss"
// and a "weight".
struct HarnessSamples {
  std::string task;  // "piqa", "mmlu_anatomy"
  std::vector<Json> lines;
};
// One after the other: prompts of all of MMLU with examples are too much to hold at once.
void ForEachSamples(const HarnessTask& task, const std::function<void(const HarnessSamples&)>& visit);

// Writes FOLDER/MODEL/results_DATE.json, or where the output path ends in .json, its name with the date; and with
// `samples` samples_TASK_DATE.jsonl beside it. The results hold metrics by task ("acc,none"), MMLU's subjects as tasks of
// their own below their groups. What the harness has no place for stands under "lowbit": protocols, hashes of data,
// tokens asked.
class HarnessWriter {
 public:
  // Makes the folder. `date`: UtcNow(). Throws WriteError.
  HarnessWriter(const std::string& output_path, const std::string& date, HarnessRun run, bool samples);

  // One more finished task: its samples, then the results of all so far. Throws WriteError.
  void Add(const HarnessTask& task);

  const std::string& path() const { return path_; }      // of the results
  const std::string& folder() const { return folder_; }  // that holds them

 private:
  // Sections of the results file that have one member a task.
  struct Sections {
    Json results = Json::object(), groups = Json::object(), group_subtasks = Json::object(),
         configs = Json::object(), versions = Json::object(), shots = Json::object(),
         higher_is_better = Json::object(), samples = Json::object(), hashes = Json::object(),
         protocols = Json::object(), data = Json::object(), tokens = Json::object();
  };
  struct TaskFacts;

  void AddMetrics(const HarnessTask& task, const TaskFacts& facts);
  void AddGroup(const TaskResult& result, const std::string& category, Json members);
  void AddSubjects(const HarnessTask& task);
  Json Results() const;

  HarnessRun run_;
  std::string folder_, id_, path_;
  bool writes_samples_;
  Sections sections_;
};

}  // namespace lowbit
