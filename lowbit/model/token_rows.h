// SPDX-License-Identifier: Apache-2.0
// From token ids to rows of the residual stream, and whether a layer left numbers in them: what every pass of tokens
// through a model begins with and looks at.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "lowbit/kernels/backend.h"
#include "lowbit/model/layer_source.h"

namespace lowbit {

// Throws Error{kContent} for an id outside the vocabulary. `of`, where not empty, says whose it is: "the calibration
// set".
void RequireInVocabulary(std::span<const int32_t> ids, size_t vocabulary, std::string_view of = {});

// Looks up tokens' rows in a model's embedding, and lets go of its pages every so often and at the end: a lookup
// touches up to 64 KiB of them.
class TokenRows {
 public:
  explicit TokenRows(const LayerSource& source) : source_(source), embedding_(source.Embedding()) {}
  ~TokenRows() { source_.ReleaseEmbeddingAndHead(); }
  TokenRows(const TokenRows&) = delete;
  TokenRows& operator=(const TokenRows&) = delete;

  // x[t] = the row of ids[t], all within the vocabulary.
  void LookUp(std::span<const int32_t> ids, MatView<float> x);

 private:
  const LayerSource& source_;
  Weight embedding_;
  size_t lookups_ = 0;
};

// The first sequence with a NaN or an infinity in its rows of x.
std::optional<size_t> FirstNotFinite(MatView<const float> x, std::span<const SequenceRows> sequences,
                                     const Threads& threads);

}  // namespace lowbit
