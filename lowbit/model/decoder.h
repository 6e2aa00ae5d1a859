// SPDX-License-Identifier: Apache-2.0
// The whole model, layer-major: all rows pass through layer l before layer l + 1 is read, so that one
// layer's weights are in memory at a time and are unpacked once per job.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "lowbit/kernels/backend.h"
#include "lowbit/model/forward_plan.h"
#include "lowbit/model/layer_forward.h"
#include "lowbit/model/prefix_tree.h"

namespace lowbit {

using TokenIds = std::vector<int32_t>;

// Score tokens ids[first_scored ..], each given all tokens before it. 1 ≤ first_scored < ids.size().
struct ScoreRequest {
  std::span<const int32_t> ids;
  size_t first_scored = 1;
};

// Who else looks at the final hidden states that tokens are scored from.
struct RowObserver {
  // Rows [first, first + rows.rows) of the scored tokens of all requests, in order, after the norm. Valid
  // during the call.
  std::function<void(size_t first, MatView<const float> rows)> see;
  // Instead: scores the rows too, as ScoreTargets does bit for bit, on the way of comparing them by CompareHeads.
  std::function<std::vector<TokenScore>(size_t first, MatView<const float> rows,
                                        std::span<const int32_t> targets)>
      score;
  uint64_t kept_bytes = 0;  // of them that it comes to hold in memory
};

class Decoder {
 public:
  // Both must outlive the decoder. Results do not depend on the budget. Not for several threads at once.
  Decoder(const LayerSource& source, const Backend& backend, MemoryBudget budget = {})
      : source_(source), backend_(backend), budget_(std::move(budget)) {}
  ~Decoder();

  // Sees the residual stream: "embed", "layer0", … and "final_norm", rows [first, first + rows.rows), and the
  // router logits of mixtures, "router0".
  using Observer = std::function<void(std::string_view name, size_t first, MatView<const float> rows)>;
  // Called after each layer, for progress.
  using OnLayer = std::function<void(size_t layer)>;

  // Hidden states after the final norm, rows of all sequences one after the other.
  // Throws Error{kContent} for an id outside the vocabulary, Error{kNumeric} naming the layer whose output
  // is not finite, Error{kResource} when the budget is too small.
  Matrix Forward(std::span<const TokenIds> sequences, const Observer& observer = {}) const;

  // Log-probabilities of the scored tokens of every request, in order. The result of a request does not
  // depend on the others. `repeats`: more calls follow, so that prepared layers are worth keeping.
  std::vector<std::vector<TokenScore>> Score(std::span<const ScoreRequest> requests,
                                             const OnLayer& on_layer = {}, bool repeats = false,
                                             const RowObserver& observer = {}) const;

  // Score for requests that begin alike, with each beginning computed once: [request][token of its continuation],
  // bit for bit what Score gives them. Keys and values are held along the way to the branch under work only.
  std::vector<std::vector<TokenScore>> ScoreTree(const PrefixTree& tree, const OnLayer& on_layer = {},
                                                 bool repeats = false) const;

  // What Score makes of requests: the rows that pass through the layers, and those through the head.
  static ForwardJob JobOf(std::span<const ScoreRequest> requests, bool repeats = false);
  static ForwardJob JobOf(const PrefixTree& tree, bool repeats = false);

  const LayerSource& source() const { return source_; }
  const Backend& backend() const { return backend_; }
  const MemoryBudget& budget() const { return budget_; }

 private:
  struct Batch;
  class HeadRows;
  class TreePass;
  // Fills batch.x with the residual stream after the last layer.
  void RunLayers(Batch& batch, const ForwardPlan& plan, const Observer& observer,
                 const OnLayer& on_layer) const;
  void Embed(Batch& batch) const;
  const PreparedLayer& LayerFor(size_t index, const ForwardPlan& plan,
                                std::unique_ptr<PreparedLayer>& own) const;

  const ModelConfig& config() const { return source_.config(); }

  const LayerSource& source_;
  const Backend& backend_;
  MemoryBudget budget_;
  mutable std::vector<std::unique_ptr<PreparedLayer>> kept_;  // when a plan keeps layers
};

}  // namespace lowbit
