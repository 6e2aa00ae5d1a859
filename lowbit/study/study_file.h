// SPDX-License-Identifier: Apache-2.0
// Room study: plans, runs and records a grid of models × recipes × tasks.
// In:  a study file (YAML).   Out: rows of results.db, one per cell; a failed cell is a row, not a crash.
// Non-goals: how a recipe works (quant), what a number means (eval), how results are shown (report).
// Start reading here, then plan.h (which cells, what is missing), runner.h and results_db.h.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "lowbit/calib/calibration_set.h"
#include "lowbit/eval/task.h"
#include "lowbit/quant/spec.h"

namespace lowbit {

struct StudyModel {
  std::string name;    // unique; names the artefact folder and the report's rows
  std::string folder;  // relative paths are relative to the study file
};

struct StudyTask {
  std::string name;  // "wikitext2", "text:FILE", "piqa"
  TaskOptions options;
};

// A study file, read and checked (docs/study-files.md):
//   study: demo
//   models: [../data/demo-qwen3]            # or {folder: …, name: …}
//   recipes: [full, rtn-w4-g128]            # and grids: {methods: [rtn, gptq], bits: [4, 3], groups: [64]}
//   tasks: [{task: wikitext2, window: 512, windows: 100}, {task: mmlu, num_fewshot: 5, limit: 20, bos: auto}]
//   calibration: {file: c4.jsonl, samples: 128, length: 2048, policy: concat}   # for methods that learn
//   compute: f32                             # optional: f32 (default) or bf16
//   keep_artefacts: true                     # optional: keep the quantized models (default: drop after use)
//   divergence: false                        # optional: do not compare with full precision (default: compare)
//   data: ../data                            # optional: folder of data sets
struct StudyFile {
  std::string path, name;
  std::vector<StudyModel> models;
  std::vector<Recipe> recipes;
  std::vector<std::string> left_out;  // recipes of a grid with skip_refused, each with the reason
  std::vector<StudyTask> tasks;
  std::optional<CalibrationSpec> calibration;
  std::string compute = "f32";
  bool keep_artefacts = false;
  bool divergence = true;
};

// Throws Error{kMissing} or Error{kContent} naming file, line and key; a recipe or a task that does not
// exist is an Error{kContent} at its line. Unknown keys are errors.
StudyFile ReadStudyFile(const std::string& path);

// `check` throws for a task that does not exist; RequireTask opens its data for that.
using TaskCheck = std::function<void(const StudyTask&)>;
void RequireTask(const StudyTask& task);
StudyFile ParseStudyFile(const std::string& text, const std::string& path,
                         const TaskCheck& check = &RequireTask);

}  // namespace lowbit
