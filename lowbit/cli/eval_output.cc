// SPDX-License-Identifier: Apache-2.0
#include "lowbit/cli/eval_output.h"

#include <filesystem>

#include "lowbit/base/build_info.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/log.h"
#include "lowbit/checkpoint/artefact.h"
#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/model/layer_source.h"

namespace lowbit {
namespace fs = std::filesystem;
namespace {

std::string ScratchFolder(const HarnessWriter& writer) {
  return writer.folder() + "/.lowbit-scratch";
}

}  // namespace

std::string ModelHash(const std::string& folder, const Tokenizer& tokenizer, const Threads& threads) {
  const std::string base = BaseFolderOf(folder);
  LogDetail(fmt::format("hashing the weights of {}", base));
  std::string inputs =
      fmt::format("weights {}\nconfig {}\ntokenizer {}\n", Checkpoint(base).WeightsHash(threads),
                  Sha256OfFile(base + "/config.json"), tokenizer.Hash());
  if (IsArtefact(folder)) inputs += fmt::format("artefact {}\n", Sha256OfFile(folder + "/lowbit.json"));
  return Sha256Hex(inputs);
}

EvalOutput::EvalOutput(const std::string& output_path, HarnessRun run, bool samples, std::string scored_by)
    : writer_(output_path, UtcNow(), std::move(run), samples), scored_by_(std::move(scored_by)) {}

std::unique_ptr<ScoreKeeper> EvalOutput::KeeperOf(const Task& task) {
  const std::string key =
      Sha256Hex(fmt::format("{}\ntask {}\ntext {}\n", scored_by_, task.Settings(), task.DataHash()));
  kept_.emplace_back(ScratchFolder(writer_), key);
  return std::make_unique<KeptScores>(kept_.back());
}

void EvalOutput::Finish() {
  std::error_code code;
  for (const KeptScores& scores : kept_) scores.Remove();
  fs::remove(ScratchFolder(writer_), code);  // unless a run beside this one has its own there
}

}  // namespace lowbit
