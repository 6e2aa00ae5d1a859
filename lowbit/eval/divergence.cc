// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/divergence.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "lowbit/eval/mean.h"

namespace lowbit {
namespace {

// What identifies requests: lengths, first scored positions and ids.
std::vector<int32_t> Flat(std::span<const ScoreRequest> requests) {
  std::vector<int32_t> flat;
  for (const ScoreRequest& r : requests) {
    flat.push_back(static_cast<int32_t>(r.ids.size()));
    flat.push_back(static_cast<int32_t>(r.first_scored));
    flat.insert(flat.end(), r.ids.begin(), r.ids.end());
  }
  return flat;
}

// Whether two heads hold the same bytes: those of a quantized model usually are its base's, in another mapping.
// Read in pieces that leave memory again.
bool HoldSameBytes(const Weight& a, const Weight& b) {
  const auto *x = std::get_if<TensorView>(&a), *y = std::get_if<TensorView>(&b);
  if (x == nullptr || y == nullptr || x->type != y->type || x->shape != y->shape) return false;
  const size_t rows = Rows(a), row_bytes = x->bytes.size() / rows;
  const size_t step = std::max<size_t>(1, (size_t{8} << 20) / row_bytes);
  for (size_t first = 0; first < rows; first += step) {
    const size_t count = std::min(step, rows - first);
    if (std::memcmp(x->bytes.data() + first * row_bytes, y->bytes.data() + first * row_bytes,
                    count * row_bytes) != 0)
      return false;
    ReleaseRows(a, first, count);
    ReleaseRows(b, first, count);
  }
  return true;
}

uint64_t RowBytes(const ForwardJob& job, const LayerSource& base) {
  return uint64_t{job.scored} * base.config().hidden_size * sizeof(float);
}

// Whether `bytes` of kept rows leave a pass its activations in memory.
bool FitsBeside(ForwardJob job, uint64_t bytes, const LayerSource& base, const Backend& backend,
                const MemoryBudget& budget) {
  job.kept_bytes = bytes;
  try {
    return !budget.least && !PlanForward(base, backend, job, budget).scratch_file;
  } catch (const Error& e) {
    if (e.kind() != ErrorKind::kResource) throw;
    return false;
  }
}

// Runs one after the other as the tokens of each request.
template <class T>
std::vector<std::vector<T>> ByRequest(std::span<const T> all, std::span<const ScoreRequest> requests) {
  std::vector<std::vector<T>> parts;
  for (const ScoreRequest& r : requests) {
    const size_t count = r.ids.size() - r.first_scored;
    parts.emplace_back(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count));
    all = all.subspan(count);
  }
  return parts;
}

void RequireFinite(std::span<const std::vector<RowDivergence>> divergence,
                   std::span<const ScoreRequest> requests) {
  for (size_t i = 0; i < divergence.size(); ++i) {
    for (size_t t = 0; t < divergence[i].size(); ++t) {
      if (std::isfinite(divergence[i][t].kl)) continue;
      throw Error(ErrorKind::kNumeric, Place().Item(fmt::format("sequence {}", i)),
                  fmt::format("the divergence from full precision at its token {} is {}",
                              requests[i].first_scored + t, divergence[i][t].kl));
    }
  }
}

}  // namespace

std::unique_ptr<Activations> Reference::MakeRows(const ForwardJob& job, uint64_t& kept_bytes) const {
  const size_t hidden = base_.config().hidden_size;
  kept_bytes = RowBytes(job, base_);
  if (FitsBeside(job, kept_bytes, base_, backend_, budget_))
    return std::make_unique<Activations>(job.scored, hidden);
  const size_t held = std::min(kRowsPerGroup, job.scored);
  kept_bytes = held * hidden * sizeof(float);
  return std::make_unique<Activations>(job.scored, hidden, budget_.ScratchFolder(), held);
}

std::vector<std::vector<TokenScore>> Reference::Keep(const Scorer& base,
                                                     std::span<const ScoreRequest> requests) {
  kept_.clear();  // until all of them are there
  rows_.reset();
  RowObserver observer;
  rows_ = MakeRows(Decoder::JobOf(requests), observer.kept_bytes);
  observer.see = [&](size_t first, MatView<const float> rows) {
    const MatView<float> to = rows_->Load(first, rows.rows, true);
    for (size_t t = 0; t < rows.rows; ++t) std::copy_n(rows.Row(t), rows.cols, to.Row(t));
    rows_->Store();
  };
  auto scores = base.ScoreTokens(requests, observer);
  kept_ = Flat(requests);
  return scores;
}

ComparedScores Reference::ScoreTokens(const Scorer& scorer, std::span<const ScoreRequest> requests) {
  const LayerSource& source = scorer.decoder().source();
  if (&source == &base_) return {Keep(scorer, requests), {}};
  if (kept_ != Flat(requests)) {
    const Decoder decoder(base_, backend_, budget_);
    try {
      Keep(Scorer(decoder, scorer.requests_per_batch()), requests);
    } catch (const Error& e) {
      throw Error(e.kind(), e.place(), "of the full-precision model, for the divergence: " + e.message())
          .Hint(e.hint());
    }
  }
  const Weight base_head = base_.Head(), own_head = source.Head();
  const Weight& head = HoldSameBytes(base_head, own_head) ? base_head : own_head;
  std::vector<RowDivergence> all(rows_->rows());
  RowObserver observer;
  observer.score = [&](size_t first, MatView<const float> rows, std::span<const int32_t> targets) {
    std::vector<TokenScore> scores;
    for (const ComparedRow& row :
         backend_.CompareHeads(rows_->Load(first, rows.rows), base_head, rows, head, targets)) {
      all[first + scores.size()] = row.divergence;
      scores.push_back(row.score);
    }
    return scores;
  };
  ComparedScores result;
  result.scores = scorer.ScoreTokens(requests, observer);
  base_.RequireIntact();
  result.divergence = ByRequest<RowDivergence>(all, requests);
  RequireFinite(result.divergence, requests);
  return result;
}

ForwardJob ComparedJob(ForwardJob job, const LayerSource& base, const Backend& backend,
                       const MemoryBudget& budget) {
  job.compares = true;
  const uint64_t bytes = RowBytes(job, base);
  if (FitsBeside(job, bytes, base, backend, budget)) job.kept_bytes = bytes;
  return job;
}

std::vector<Measurement> DivergenceOf(std::span<const std::vector<RowDivergence>> windows) {
  std::vector<double> all, mean_kl, agreement;  // of tokens; of windows
  for (const std::vector<RowDivergence>& window : windows) {
    double sum = 0, same = 0;
    for (const RowDivergence& row : window) {
      all.push_back(row.kl);
      sum += row.kl;
      same += row.same_top ? 1 : 0;
    }
    mean_kl.push_back(sum / static_cast<double>(window.size()));
    agreement.push_back(same / static_cast<double>(window.size()));
  }
  std::ranges::sort(all);
  const size_t n = all.size();
  return {{"kl_mean", Mean(mean_kl), StdErrorOfMean(mean_kl), n, false},
          {"kl_median", QuantileOfSorted(all, 0.5), std::nullopt, n, false},
          {"kl_p99", QuantileOfSorted(all, 0.99), std::nullopt, n, false},
          {"top1_agreement", Mean(agreement), StdErrorOfMean(agreement), n, true}};
}

}  // namespace lowbit
