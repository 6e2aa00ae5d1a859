// SPDX-License-Identifier: Apache-2.0
// The whole model, layer-major: all rows pass through layer l before layer l + 1 is read, so that one
// layer's weights are in memory at a time and are unpacked once per job.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "lowbit/kernels/backend.h"
#include "lowbit/model/layer_source.h"

namespace lowbit {

using TokenIds = std::vector<int32_t>;

// Score tokens ids[first_scored ..], each given all tokens before it. 1 ≤ first_scored < ids.size().
struct ScoreRequest {
  std::span<const int32_t> ids;
  size_t first_scored = 1;
};

class Decoder {
 public:
  // Both must outlive the decoder.
  Decoder(const LayerSource& source, const Backend& backend) : source_(source), backend_(backend) {}

  // Sees the residual stream: "embed", "layer0", … and "final_norm", [all rows, hidden_size].
  using Observer = std::function<void(std::string_view name, MatView<const float> rows)>;
  // Called after each layer, for progress.
  using OnLayer = std::function<void(size_t layer)>;

  // Hidden states after the final norm, rows of all sequences one after the other.
  // Throws Error{kContent} for an id outside the vocabulary, Error{kNumeric} naming the layer whose output
  // is not finite.
  Matrix Forward(std::span<const TokenIds> sequences, const Observer& observer = {}) const;

  // Log-probabilities of the scored tokens of every request, in order. The result of a request does not
  // depend on the others. Holds Σ rows × hidden_size f32; callers with more rows than memory ask in parts.
  std::vector<std::vector<TokenScore>> Score(std::span<const ScoreRequest> requests,
                                             const OnLayer& on_layer = {}) const;

  const LayerSource& source() const { return source_; }
  const Backend& backend() const { return backend_; }

 private:
  // Residual stream after the last layer.
  Matrix RunLayers(std::span<const std::span<const int32_t>> sequences, const Observer& observer,
                   const OnLayer& on_layer) const;
  Matrix Embed(std::span<const std::span<const int32_t>> sequences, size_t rows) const;

  const LayerSource& source_;
  const Backend& backend_;
};

}  // namespace lowbit
