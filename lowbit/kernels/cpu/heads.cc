// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/cpu/heads.h"

#include <algorithm>
#include <cmath>

#include "lowbit/kernels/cpu/panels.h"
#include "lowbit/kernels/cpu/vector_ops.h"

namespace lowbit {
namespace {

constexpr size_t kRowsAtOnce = 4096;  // whose panel summaries are held

// The same bytes, not merely equal ones: nobody has to look.
bool IsSame(const Weight& a, const Weight& b) {
  if (a.index() != b.index()) return false;
  if (const auto* packed = std::get_if<std::shared_ptr<const PackedTensor>>(&a))
    return *packed == std::get<std::shared_ptr<const PackedTensor>>(b);
  const TensorView &x = std::get<TensorView>(a), &y = std::get<TensorView>(b);
  return x.bytes.data() == y.bytes.data() && x.type == y.type && x.shape == y.shape;
}

// One head's part of what a thread works with.
struct Side {
  Buffer<float> logits;  // of a tile of rows
  Buffer<std::byte> packed;
};

// A head cut into panels of its vocabulary.
class HeadPanels {
 public:
  HeadPanels(const Weight& head, Compute compute)
      : head_(head),
        compute_(compute),
        vocabulary_(Rows(head)),
        count_((vocabulary_ + kPanelColumns - 1) / kPanelColumns) {}

  size_t count() const { return count_; }
  size_t Width(size_t panel) const { return std::min(kPanelColumns, vocabulary_ - panel * kPanelColumns); }

  PackedPanel Prepare(size_t panel, PanelScratch& scratch, Side& side) const {
    if (side.packed.size() == 0) {
      side.logits = Buffer<float>(kTileRows * kPanelColumns);
      side.packed = Buffer<std::byte>(PackedPanel::Bytes(Cols(head_), Width(0), compute_));
    }
    const size_t begin = panel * kPanelColumns;
    const PackedPanel prepared(head_, begin, Width(panel), compute_, scratch, side.packed.data());
    ReleaseRows(head_, begin, Width(panel));
    return prepared;
  }

 private:
  const Weight& head_;
  const Compute compute_;
  const size_t vocabulary_, count_;
};

// Takes a target's logit from a row of the panel that holds it.
void NoteTarget(const float* logits, size_t panel, size_t width, int32_t target, float& logit) {
  const size_t begin = panel * kPanelColumns, column = static_cast<size_t>(target);
  if (column >= begin && column < begin + width) logit = logits[column - begin];
}

// Largest logit over all panels and the token that has it.
struct Top {
  double logit = 0;
  size_t token = 0;
};

// `of` gives a panel's summary.
template <class F>
Top TopOf(size_t panels, const F& of) {
  float largest = of(0).max;
  size_t token = of(0).argmax;
  for (size_t panel = 1; panel < panels; ++panel) {
    const vector::RowSummary& s = of(panel);
    if (s.max <= largest || std::isnan(largest)) continue;  // a NaN stays
    largest = s.max;
    token = panel * kPanelColumns + s.argmax;
  }
  return {static_cast<double>(largest), token};
}

template <class F>
TokenScore ScoreOf(size_t panels, const F& of, const Top& top, int32_t target, float target_logit) {
  double total = 0;
  for (size_t panel = 0; panel < panels; ++panel) {
    const vector::RowSummary& s = of(panel);
    total += static_cast<double>(s.sum_exp) * std::exp(static_cast<double>(s.max) - top.logit);
  }
  return {static_cast<double>(target_logit) - top.logit - std::log(total),
          top.token == static_cast<size_t>(target)};
}

template <class F>
void ForRows(const Threads& threads, size_t rows, const F& body) {
  constexpr size_t kRowsPerTask = 64;
  threads.For((rows + kRowsPerTask - 1) / kRowsPerTask, [&](size_t task) {
    const size_t end = std::min(rows, (task + 1) * kRowsPerTask);
    for (size_t t = task * kRowsPerTask; t < end; ++t) body(t);
  });
}

void ScoreSome(const Threads& threads, Compute compute, const HeadInput& input,
               std::span<const int32_t> targets, std::span<TokenScore> out) {
  const HeadPanels panels(input.head, compute);
  const TiledRows rows(input.x, {compute}, threads);
  std::vector<vector::RowSummary> summaries(panels.count() * input.x.rows);
  std::vector<float> target_logits(input.x.rows);
  struct Scratch {
    Side side;
    PanelScratch panel;
  };
  std::vector<Scratch> scratch(static_cast<size_t>(threads.count()));
  threads.ForSlots(panels.count(), [&](size_t p, size_t slot) {
    Scratch& mine = scratch[slot];
    const PackedPanel panel = panels.Prepare(p, mine.panel, mine.side);
    const size_t width = panels.Width(p);
    for (size_t tile = 0; tile < rows.tiles(); ++tile) {
      panel.Multiply(rows.Tile(tile), mine.side.logits.data());
      for (size_t r = 0; r < rows.TileHeight(tile); ++r) {
        const size_t t = tile * kTileRows + r;
        const float* logits = mine.side.logits.data() + r * width;
        summaries[p * input.x.rows + t] = vector::Summarize(logits, width);
        NoteTarget(logits, p, width, targets[t], target_logits[t]);
      }
    }
  });
  ForRows(threads, input.x.rows, [&](size_t t) {
    const auto of = [&](size_t p) -> const vector::RowSummary& { return summaries[p * input.x.rows + t]; };
    out[t] = ScoreOf(panels.count(), of, TopOf(panels.count(), of), targets[t], target_logits[t]);
  });
}

class Comparison {
 public:
  Comparison(const Threads& threads, Compute compute, const HeadInput& p, const HeadInput& q)
      : threads_(threads),
        compute_(compute),
        p_(p),
        q_(q),
        same_head_(IsSame(p.head, q.head)),
        p_panels_(p.head, compute),
        q_panels_(q.head, compute) {}

  // Rows [first, first + out.size()).
  void Run(size_t first, std::span<const int32_t> targets, std::span<ComparedRow> out) {
    const TiledRows p_rows(p_.x.Rows(first, out.size()), {compute_}, threads_);
    const TiledRows q_rows(q_.x.Rows(first, out.size()), {compute_}, threads_);
    rows_ = out.size();
    summaries_.resize(p_panels_.count() * rows_);
    target_logits_.resize(rows_);
    std::vector<Scratch> scratch(static_cast<size_t>(threads_.count()));
    threads_.ForSlots(p_panels_.count(), [&](size_t panel, size_t slot) {
      SummarizePanel(panel, p_rows, q_rows, targets, scratch[slot]);
    });
    ForRows(threads_, rows_, [&](size_t t) { out[t] = Join(t, targets[t]); });
  }

 private:
  struct Scratch {
    Side p, q;
    PanelScratch panel;
  };

  const vector::PairSummary& Summary(size_t panel, size_t row) const {
    return summaries_[panel * rows_ + row];
  }

  void SummarizePanel(size_t panel, const TiledRows& p_rows, const TiledRows& q_rows,
                      std::span<const int32_t> targets, Scratch& mine) {
    const PackedPanel p_panel = p_panels_.Prepare(panel, mine.panel, mine.p);
    const PackedPanel q_panel = same_head_ ? p_panel : q_panels_.Prepare(panel, mine.panel, mine.q);
    if (mine.q.logits.size() == 0) mine.q.logits = Buffer<float>(kTileRows * kPanelColumns);
    const size_t width = p_panels_.Width(panel);
    for (size_t tile = 0; tile < p_rows.tiles(); ++tile) {
      p_panel.Multiply(p_rows.Tile(tile), mine.p.logits.data());
      q_panel.Multiply(q_rows.Tile(tile), mine.q.logits.data());
      for (size_t r = 0; r < p_rows.TileHeight(tile); ++r) {
        const size_t t = tile * kTileRows + r;
        const float *p = mine.p.logits.data() + r * width, *q = mine.q.logits.data() + r * width;
        summaries_[panel * rows_ + t] = vector::SummarizePair(p, q, width);
        NoteTarget(q, panel, width, targets[t], target_logits_[t]);
      }
    }
  }

  ComparedRow Join(size_t t, int32_t target) const {
    const size_t panels = p_panels_.count();
    const auto of_p = [&](size_t panel) -> const vector::RowSummary& { return Summary(panel, t).p; };
    const auto of_q = [&](size_t panel) -> const vector::RowSummary& { return Summary(panel, t).q; };
    const Top p = TopOf(panels, of_p), q = TopOf(panels, of_q);
    return {ScoreOf(panels, of_q, q, target, target_logits_[t]), Divergence(t, p, q)};
  }

  // Panels in order, in f64. With logits relative to each side's largest, P = Σ exp p and Q = Σ exp q, the
  // divergence is Σ exp p (p - q) / P + log(Q / P).
  RowDivergence Divergence(size_t t, const Top& p, const Top& q) const {
    double p_total = 0, q_total = 0, growth = 0, cross = 0;
    for (size_t panel = 0; panel < p_panels_.count(); ++panel) {
      const vector::PairSummary& s = Summary(panel, t);
      const double p_shift = static_cast<double>(s.p.max) - p.logit,
                   q_shift = static_cast<double>(s.q.max) - q.logit;
      const double p_weight = std::exp(p_shift), q_weight = std::exp(q_shift),
                   sum = static_cast<double>(s.p.sum_exp);
      p_total += p_weight * sum;
      q_total += q_weight * static_cast<double>(s.q.sum_exp);
      growth += q_weight * static_cast<double>(s.growth) + (q_weight - p_weight) * sum;
      cross += p_weight * (static_cast<double>(s.cross) + sum * (p_shift - q_shift));
    }
    const double relative = growth / p_total;  // Q / P - 1, exact where it is small
    const double log_ratio = std::abs(relative) < 0.5 ? std::log1p(relative) : std::log(q_total / p_total);
    const double kl = cross / p_total + log_ratio;
    return {kl < 0 ? 0 : kl, p.token == q.token};  // below zero by rounding only; a NaN stays
  }

  const Threads& threads_;
  const Compute compute_;
  const HeadInput &p_, &q_;
  const bool same_head_;
  const HeadPanels p_panels_, q_panels_;
  size_t rows_ = 0;
  std::vector<vector::PairSummary> summaries_;  // [panel][row]
  std::vector<float> target_logits_;            // of q
};

}  // namespace

std::vector<TokenScore> ScorePanels(const Threads& threads, Compute compute, const HeadInput& input,
                                    std::span<const int32_t> targets) {
  std::vector<TokenScore> scores(input.x.rows);
  for (size_t first = 0; first < scores.size(); first += kRowsAtOnce) {
    const size_t count = std::min(kRowsAtOnce, scores.size() - first);
    ScoreSome(threads, compute, {input.x.Rows(first, count), input.head}, targets.subspan(first, count),
              std::span(scores).subspan(first, count));
  }
  return scores;
}

std::vector<ComparedRow> ComparePanels(const Threads& threads, Compute compute, const HeadInput& p,
                                       const HeadInput& q, std::span<const int32_t> targets) {
  std::vector<ComparedRow> rows(p.x.rows);
  Comparison comparison(threads, compute, p, q);
  for (size_t first = 0; first < rows.size(); first += kRowsAtOnce) {
    const size_t count = std::min(kRowsAtOnce, rows.size() - first);
    comparison.Run(first, targets.subspan(first, count), std::span(rows).subspan(first, count));
  }
  return rows;
}

}  // namespace lowbit
