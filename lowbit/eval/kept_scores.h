// SPDX-License-Identifier: Apache-2.0
// Finished blocks of a task's questions, one file each, in a scratch folder: what was killed in a long task goes on
// behind them.
#pragma once

#include <string>

#include "lowbit/eval/scorer.h"

namespace lowbit {

class KeptScores : public ScoreKeeper {
 public:
  // A folder in `scratch` of this key's own, which is made with the first block. `key` stands for everything that decides
  // the numbers: model, task, arithmetic.
  KeptScores(const std::string& scratch, std::string key, size_t requests_per_block = 1024)
      : folder_(scratch + "/scores-" + key), key_(std::move(key)), requests_per_block_(requests_per_block) {}

  size_t requests_per_block() const override { return requests_per_block_; }
  // A file that is damaged, of another key or of other requests is as good as none.
  std::optional<ScoredBlock> Find(size_t index, std::span<const ContinuationRequest> requests) override;
  // Throws WriteError.
  void Keep(size_t index, const ScoredBlock& block) override;
  // The numbers are where they belong: the blocks go.
  void Remove() const noexcept;

 private:
  std::string FileOf(size_t index) const;
  std::string folder_, key_;
  size_t requests_per_block_;
};

}  // namespace lowbit
