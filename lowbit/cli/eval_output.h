// SPDX-License-Identifier: Apache-2.0
// What `lowbit eval --output-path` leaves: files in the harness's layout as tasks end, and until all have ended the finished
// blocks of their questions, behind which the same command goes on when it was killed.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lowbit/base/threads.h"
#include "lowbit/eval/harness_files.h"
#include "lowbit/eval/kept_scores.h"
#include "lowbit/eval/scorer.h"
#include "lowbit/text/tokenizer.h"

namespace lowbit {

// Everything of a model that decides its scores: SHA-256 over the hashes of weights, config.json, tokenizer (its own) and
// an artefact's lowbit.json, which has those of its layers. Reads every byte of the weights.
std::string ModelHash(const std::string& folder, const Tokenizer& tokenizer, const Threads& threads);

class EvalOutput {
 public:
  // `scored_by`: the model and the arithmetic. Makes the folder of results. Throws WriteError.
  EvalOutput(const std::string& output_path, HarnessRun run, bool samples, std::string scored_by);

  // Keeps blocks of the task's questions until Finish.
  std::unique_ptr<ScoreKeeper> KeeperOf(const Task& task);
  // One more finished task. Throws WriteError.
  void Add(const HarnessTask& task) { writer_.Add(task); }
  // All tasks are done: their blocks go.
  void Finish();

  const std::string& path() const { return writer_.path(); }  // of the results

 private:
  HarnessWriter writer_;
  std::string scored_by_;
  std::vector<KeptScores> kept_;
};

}  // namespace lowbit
