// SPDX-License-Identifier: Apache-2.0
// Results and samples in the files of lm-evaluation-harness 0.4, for the tools that read those: what --output-path and
// --log-samples write there. Nothing in them depends on when, how fast or in which batches it was measured.
// docs/evaluation.md.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <utility>
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

// The results file: metrics by task ("acc,none"), MMLU's subjects as tasks of their own below their groups. What
// the harness has no place for stands under "lowbit": protocols, hashes of data, tokens computed.
Json HarnessResults(const HarnessRun& run, std::span<const HarnessTask> tasks);

// The samples files of a task: its name there, and a line of JSON for each item. Windows of texts are items with a
// "loss" and a "weight".
struct HarnessSamples {
  std::string task;  // "piqa", "mmlu_anatomy"
  std::vector<Json> lines;
};
std::vector<HarnessSamples> HarnessSamplesOf(const HarnessTask& task);

// The folder that WriteHarnessFiles writes to: FOLDER/MODEL, or that of FILE.json.
std::string HarnessFolder(const std::string& output_path, const std::string& model);

// Writes FOLDER/MODEL/results_DATE.json, or beside FILE.json FILE_DATE.json, and with `samples` their
// samples_TASK_DATE.jsonl before it. `date`: UtcNow(). Returns the path of the results. Throws WriteError.
std::string WriteHarnessFiles(const std::string& output_path, const std::string& date, const HarnessRun& run,
                              std::span<const HarnessTask> tasks, bool samples);

}  // namespace lowbit
