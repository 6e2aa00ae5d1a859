// SPDX-License-Identifier: Apache-2.0
// Inside the decoder: the last step of scoring, shared by sequences and trees.
#pragma once

#include <vector>

#include "lowbit/model/decoder.h"

namespace lowbit {

// Takes rows of the residual stream behind the last layer, one for each scored token, and passes them through the
// final norm and the head, some at a time.
class Decoder::HeadRows {
 public:
  // Holds up to `rows` rows, and never more than a group. All must outlive it.
  HeadRows(const Decoder& decoder, size_t rows, const RowObserver& observer);

  // `score` is written by this call, a later one, or Finish.
  void Add(const float* row, int32_t target, TokenScore& score);
  void Finish();

 private:
  const Decoder& decoder_;
  const RowObserver& observer_;
  std::vector<float> norm_;
  Weight head_;
  Matrix rows_;
  std::vector<int32_t> targets_;
  std::vector<TokenScore*> scores_;
  size_t seen_ = 0;
};

}  // namespace lowbit
