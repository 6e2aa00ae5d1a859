// SPDX-License-Identifier: Apache-2.0
// One batch call: how likely are these tokens after those?
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "lowbit/model/decoder.h"

namespace lowbit {

// A context and what may follow it, as in lm-evaluation-harness: each continuation is scored on its own.
struct ContinuationRequest {
  TokenIds context;                     // at least one token
  std::vector<TokenIds> continuations;  // each at least one token
  size_t max_length = 0;                // tokens the model may see; longer inputs lose their left end
};

struct ContinuationScore {
  double log_likelihood = 0;  // Σ log p over the continuation, natural logarithm
  bool is_greedy = false;     // every token was the most likely one
};

// What sharing saved: tokens of all inputs, and those that went through the model.
struct ScoreCounts {
  size_t asked = 0, computed = 0;
};

// Whether LogLikelihoods computes what requests have in common once. Never changes a result.
enum class Sharing : uint8_t { kNone, kPrefixes };

class Scorer {
 public:
  // `requests_per_batch` 0: all at once, each layer read once, cut by the decoder's memory budget alone. Never
  // changes a result. `repeats`: other calls on the same decoder follow.
  explicit Scorer(const Decoder& decoder, size_t requests_per_batch = 0, bool repeats = false,
                  Sharing sharing = Sharing::kPrefixes)
      : decoder_(decoder), requests_per_batch_(requests_per_batch), repeats_(repeats), sharing_(sharing) {}

  // Log-probability of every scored token of every request, in order. Throws Error{kNumeric} when one is
  // not finite: never a mean over the rest.
  // `observer` sees the rows of all requests, whatever the batches.
  std::vector<std::vector<TokenScore>> ScoreTokens(std::span<const ScoreRequest> requests,
                                                   const RowObserver& observer = {}) const;

  // [request][continuation]. Throws Error{kContent} for an empty context or continuation, or one longer
  // than max_length. A batch counts continuations. `counts` is added to.
  std::vector<std::vector<ContinuationScore>> LogLikelihoods(std::span<const ContinuationRequest> requests,
                                                             ScoreCounts* counts = nullptr) const;

  // What LogLikelihoods asks of the decoder, all at once and sharing prefixes. Throws what it throws for the requests.
  static ForwardJob JobOf(std::span<const ContinuationRequest> requests);

  const Decoder& decoder() const { return decoder_; }
  size_t requests_per_batch() const { return requests_per_batch_; }

 private:
  std::vector<std::vector<TokenScore>> ScoreEach(std::span<const ContinuedRequest> requests) const;
  std::vector<std::vector<TokenScore>> ScoreShared(std::span<const ContinuedRequest> requests,
                                                   size_t& computed) const;

  const Decoder& decoder_;
  size_t requests_per_batch_;
  bool repeats_;
  Sharing sharing_;
};

}  // namespace lowbit
