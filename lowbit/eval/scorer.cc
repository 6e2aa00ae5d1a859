// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/scorer.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "lowbit/base/log.h"
#include "lowbit/base/progress.h"

namespace lowbit {
namespace {

// What a model is fed and scored on: context ++ continuation, its last max_length + 1 tokens, the last of them only
// a target.
ContinuedRequest Cut(const ContinuationRequest& request, const TokenIds& continuation, size_t index) {
  const Place place = Place().Item(fmt::format("request {}", index));
  if (request.context.empty()) {
    throw Error(ErrorKind::kContent, place, "the context is empty, expected at least one token")
        .Hint("give the tokenizer's BOS, or EOS where there is none, as the context");
  }
  if (continuation.empty())
    throw Error(ErrorKind::kContent, place, "a continuation is empty, expected at least one token");
  if (continuation.size() > request.max_length) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("a continuation of {} tokens, longer than max_length {}", continuation.size(),
                            request.max_length));
  }
  const size_t room = request.max_length + 1 - continuation.size();
  const std::span<const int32_t> context = request.context;
  return {context.last(std::min(room, context.size())), continuation};
}

std::vector<ContinuedRequest> CutRequests(std::span<const ContinuationRequest> requests) {
  std::vector<ContinuedRequest> cut;
  for (size_t i = 0; i < requests.size(); ++i) {
    for (const TokenIds& continuation : requests[i].continuations)
      cut.push_back(Cut(requests[i], continuation, i));
  }
  return cut;
}

// `first` position of the scored tokens in sequence `index`.
void RequireFinite(std::span<const TokenScore> scores, size_t index, size_t first) {
  for (size_t t = 0; t < scores.size(); ++t) {
    if (std::isfinite(scores[t].log_prob)) continue;
    throw Error(ErrorKind::kNumeric, Place().Item(fmt::format("sequence {}", index)),
                fmt::format("the log-probability of its token {} is {}", first + t, scores[t].log_prob));
  }
}

}  // namespace

size_t Scorer::StepOf(size_t requests) const {
  return requests_per_batch_ > 0 ? requests_per_batch_ : std::max<size_t>(1, requests);
}

size_t Scorer::BatchesOf(size_t requests) const {
  const size_t step = StepOf(requests);
  return (requests + step - 1) / step;
}

std::vector<std::vector<TokenScore>> Scorer::ScoreTokens(std::span<const ScoreRequest> requests,
                                                         const RowObserver& observer) const {
  const size_t step = StepOf(requests.size()), batches = BatchesOf(requests.size());
  Progress progress("scoring", batches * decoder_.source().config().num_hidden_layers);

  std::vector<std::vector<TokenScore>> scores;
  size_t seen = 0, seen_before = 0;
  RowObserver of_batch = observer;
  if (observer.see) {
    of_batch.see = [&](size_t first, MatView<const float> rows) {
      observer.see(seen_before + first, rows);
      seen = seen_before + first + rows.rows;
      const uint64_t held = rows.rows * rows.cols * sizeof(float);  // the next batch meets them in memory
      of_batch.kept_bytes -= std::min(of_batch.kept_bytes, held);
    };
  }
  if (observer.score) {
    of_batch.score = [&](size_t first, MatView<const float> rows, std::span<const int32_t> targets) {
      seen = seen_before + first + rows.rows;
      return observer.score(seen_before + first, rows, targets);
    };
  }
  for (size_t begin = 0; begin < requests.size(); begin += step) {
    seen_before = seen;
    const auto on_layer = [&](size_t layer) { progress.Step(fmt::format("layer {}", layer)); };
    for (auto& request : decoder_.Score(requests.subspan(begin, std::min(step, requests.size() - begin)),
                                        on_layer, repeats_ || batches > 1, of_batch)) {
      scores.push_back(std::move(request));
    }
  }
  for (size_t i = 0; i < scores.size(); ++i) RequireFinite(scores[i], i, requests[i].first_scored);
  return scores;
}

ForwardJob Scorer::JobOf(std::span<const ContinuationRequest> requests) {
  const std::vector<ContinuedRequest> cut = CutRequests(requests);
  return Decoder::JobOf(PrefixTree(cut));
}

// Every input by itself, with all its tokens.
std::vector<std::vector<TokenScore>> Scorer::ScoreEach(std::span<const ContinuedRequest> requests) const {
  std::vector<TokenIds> ids;
  std::vector<ScoreRequest> flat;
  ids.reserve(requests.size());
  for (const ContinuedRequest& request : requests) {
    TokenIds& joined = ids.emplace_back(request.context.begin(), request.context.end());
    joined.insert(joined.end(), request.continuation.begin(), request.continuation.end());
    flat.push_back({joined, request.context.size()});
  }
  return ScoreTokens(flat);
}

std::vector<std::vector<TokenScore>> Scorer::ScoreShared(std::span<const ContinuedRequest> requests,
                                                         size_t& computed, Progress& progress) const {
  const size_t step = StepOf(requests.size()), batches = BatchesOf(requests.size());
  std::vector<std::vector<TokenScore>> scores;
  for (size_t begin = 0; begin < requests.size(); begin += step) {
    const PrefixTree tree(requests.subspan(begin, std::min(step, requests.size() - begin)));
    computed += tree.rows();
    const auto on_layer = [&](size_t layer) { progress.Step(fmt::format("layer {}", layer)); };
    for (auto& request : decoder_.ScoreTree(tree, on_layer, repeats_ || batches > 1))
      scores.push_back(std::move(request));
  }
  for (size_t i = 0; i < scores.size(); ++i) RequireFinite(scores[i], i, requests[i].context.size());
  return scores;
}

ScoredBlock Scorer::ScoreBlock(std::span<const ContinuationRequest> requests,
                               std::span<const ContinuedRequest> cut, Progress& progress) const {
  ScoredBlock block;
  for (const ContinuedRequest& request : cut) block.counts.asked += request.rows();
  if (sharing_ == Sharing::kNone) block.counts.computed = block.counts.asked;
  const std::vector<std::vector<TokenScore>> scores =
      sharing_ == Sharing::kNone ? ScoreEach(cut) : ScoreShared(cut, block.counts.computed, progress);
  auto next = scores.begin();
  for (const ContinuationRequest& request : requests) {
    std::vector<ContinuationScore>& row = block.scores.emplace_back();
    for (size_t c = 0; c < request.continuations.size(); ++c, ++next) {
      ContinuationScore score{0, true};
      for (const TokenScore& token : *next) {
        score.log_likelihood += token.log_prob;
        score.is_greedy = score.is_greedy && token.greedy;
      }
      row.push_back(score);
    }
  }
  return block;
}

std::vector<std::vector<ContinuationScore>> Scorer::LogLikelihoods(
    std::span<const ContinuationRequest> requests, ScoreCounts* counts) const {
  const std::vector<ContinuedRequest> cut = CutRequests(requests);
  struct Block {
    std::span<const ContinuationRequest> requests;
    std::span<const ContinuedRequest> cut;
    std::optional<ScoredBlock> scored;
  };
  std::vector<Block> blocks;
  size_t passes = 0, first = 0, found = 0;
  const size_t step =
      keeper_ != nullptr ? keeper_->requests_per_block() : std::max<size_t>(1, requests.size());
  for (size_t begin = 0; begin < requests.size(); begin += step) {
    const auto own = requests.subspan(begin, std::min(step, requests.size() - begin));
    size_t continuations = 0;
    for (const ContinuationRequest& request : own) continuations += request.continuations.size();
    blocks.push_back({own, std::span(cut).subspan(first, continuations),
                      keeper_ != nullptr ? keeper_->Find(blocks.size(), own) : std::nullopt});
    if (blocks.back().scored) {
      found += own.size();
    } else {
      passes += BatchesOf(continuations);
    }
    first += continuations;
  }
  if (found > 0) LogInfo(fmt::format("{} of {} questions were answered before", found, requests.size()));
  Progress progress("scoring", passes * decoder_.source().config().num_hidden_layers);
  std::vector<std::vector<ContinuationScore>> results;
  for (size_t i = 0; i < blocks.size(); ++i) {
    Block& block = blocks[i];
    if (!block.scored) {
      block.scored = ScoreBlock(block.requests, block.cut, progress);
      if (keeper_ != nullptr) keeper_->Keep(i, *block.scored);
    }
    std::ranges::move(block.scored->scores, std::back_inserter(results));
    if (counts != nullptr) {
      counts->asked += block.scored->counts.asked;
      counts->computed += block.scored->counts.computed;
    }
  }
  return results;
}

}  // namespace lowbit
