// SPDX-License-Identifier: Apache-2.0
// One batch call: how likely are these tokens after those?
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "lowbit/model/decoder.h"

namespace lowbit {

class Progress;

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

// Scores of a run of requests, and what they took.
struct ScoredBlock {
  std::vector<std::vector<ContinuationScore>> scores;  // [request][continuation]
  ScoreCounts counts;
};

// Where finished blocks of a long call are kept, so that a run that is killed goes on behind them. Bound by its maker to
// everything that decides the scores: model, requests, arithmetic.
class ScoreKeeper {
 public:
  virtual ~ScoreKeeper() = default;
  virtual size_t requests_per_block() const = 0;
  // Block `index` of these requests, if it is there and fits them.
  virtual std::optional<ScoredBlock> Find(size_t index, std::span<const ContinuationRequest> requests) = 0;
  virtual void Keep(size_t index, const ScoredBlock& block) = 0;
};

// Whether LogLikelihoods computes what requests have in common once. Never changes a result.
enum class Sharing : uint8_t { kNone, kPrefixes };

class Scorer {
 public:
  // `requests_per_batch` 0: all at once, each layer read once, cut by the decoder's memory budget alone. Never
  // changes a result. `repeats`: other calls on the same decoder follow.
  // A `keeper` has LogLikelihoods work block by block; prefixes are shared within one.
  explicit Scorer(const Decoder& decoder, size_t requests_per_batch = 0, bool repeats = false,
                  Sharing sharing = Sharing::kPrefixes, ScoreKeeper* keeper = nullptr)
      : decoder_(decoder),
        requests_per_batch_(requests_per_batch),
        repeats_(repeats),
        sharing_(sharing),
        keeper_(keeper) {}

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
  size_t StepOf(size_t requests) const;     // how many pass together
  size_t BatchesOf(size_t requests) const;  // that many times
  // `cut`: the continuations of these requests, in order.
  ScoredBlock ScoreBlock(std::span<const ContinuationRequest> requests, std::span<const ContinuedRequest> cut,
                         Progress& progress) const;
  std::vector<std::vector<TokenScore>> ScoreEach(std::span<const ContinuedRequest> requests) const;
  std::vector<std::vector<TokenScore>> ScoreShared(std::span<const ContinuedRequest> requests,
                                                   size_t& computed, Progress& progress) const;

  const Decoder& decoder_;
  size_t requests_per_batch_;
  bool repeats_;
  Sharing sharing_;
  ScoreKeeper* keeper_;
};

}  // namespace lowbit
