// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/decoder_head.h"

#include <algorithm>

namespace lowbit {

Decoder::HeadRows::HeadRows(const Decoder& decoder, size_t rows, const RowObserver& observer)
    : decoder_(decoder),
      observer_(observer),
      norm_(decoder.source_.FinalNorm()),
      head_(decoder.source_.Head()),
      rows_(std::min(kRowsPerGroup, rows), decoder.config().hidden_size) {}

void Decoder::HeadRows::Add(const float* row, int32_t target, TokenScore& score) {
  std::copy_n(row, rows_.cols(), rows_.view().Row(targets_.size()));
  targets_.push_back(target);
  scores_.push_back(&score);
  if (targets_.size() == rows_.rows()) Finish();
}

void Decoder::HeadRows::Finish() {
  if (targets_.empty()) return;
  const Backend& backend = decoder_.backend_;
  const MatView<float> some = rows_.view().Rows(0, targets_.size());
  backend.RmsNorm(some, norm_, static_cast<float>(decoder_.config().rms_norm_eps), some);
  const std::vector<TokenScore> scored =
      observer_.score ? observer_.score(seen_, some, targets_) : backend.ScoreTargets(some, head_, targets_);
  if (observer_.see) observer_.see(seen_, some);
  seen_ += some.rows;
  for (size_t i = 0; i < scored.size(); ++i) *scores_[i] = scored[i];
  targets_.clear();
  scores_.clear();
}

}  // namespace lowbit
