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

// What one thread works with.
struct Scratch {
  Scratch() = default;
  Scratch(size_t panel_bytes, bool two)
      : p_logits(kTileRows * kPanelColumns),
        q_logits(kTileRows * kPanelColumns),
        p_packed(panel_bytes),
        q_packed(two ? panel_bytes : 0) {}
  Buffer<float> p_logits, q_logits;
  Buffer<std::byte> p_packed, q_packed;
  PanelScratch panel;
};

// Largest logit over all panels and the token that has it.
struct Top {
  double logit = 0;
  size_t token = 0;
};

class Comparison {
 public:
  Comparison(const Threads& threads, Compute compute, const HeadInput& p, const HeadInput& q)
      : threads_(threads),
        compute_(compute),
        p_(p),
        q_(q),
        same_head_(IsSame(p.head, q.head)),
        vocabulary_(Rows(p.head)),
        panels_((vocabulary_ + kPanelColumns - 1) / kPanelColumns) {}

  // Rows [first, first + out.size()).
  void Run(size_t first, std::span<RowDivergence> out) {
    const TiledRows p_rows(p_.x.Rows(first, out.size()), {compute_}, threads_);
    const TiledRows q_rows(q_.x.Rows(first, out.size()), {compute_}, threads_);
    rows_ = out.size();
    summaries_.resize(panels_ * rows_);
    std::vector<Scratch> scratch(static_cast<size_t>(threads_.count()));
    const size_t bytes = PackedPanel::Bytes(Cols(p_.head), std::min(kPanelColumns, vocabulary_), compute_);
    threads_.ForSlots(panels_, [&](size_t panel, size_t slot) {
      Scratch& mine = scratch[slot];
      if (mine.p_packed.size() == 0) mine = Scratch(bytes, !same_head_);
      SummarizePanel(panel, p_rows, q_rows, mine);
    });
    constexpr size_t kRowsPerTask = 64;
    threads_.For((rows_ + kRowsPerTask - 1) / kRowsPerTask, [&](size_t task) {
      const size_t end = std::min(rows_, (task + 1) * kRowsPerTask);
      for (size_t t = task * kRowsPerTask; t < end; ++t) out[t] = Join(t);
    });
  }

 private:
  const vector::PairSummary& Summary(size_t panel, size_t row) const {
    return summaries_[panel * rows_ + row];
  }

  void SummarizePanel(size_t panel, const TiledRows& p_rows, const TiledRows& q_rows, Scratch& mine) {
    const size_t begin = panel * kPanelColumns, width = std::min(kPanelColumns, vocabulary_ - begin);
    const PackedPanel p_panel(p_.head, begin, width, compute_, mine.panel, mine.p_packed.data());
    ReleaseRows(p_.head, begin, width);
    PackedPanel other;
    if (!same_head_) {
      other = PackedPanel(q_.head, begin, width, compute_, mine.panel, mine.q_packed.data());
      ReleaseRows(q_.head, begin, width);
    }
    const PackedPanel& q_panel = same_head_ ? p_panel : other;
    for (size_t tile = 0; tile < p_rows.tiles(); ++tile) {
      p_panel.Multiply(p_rows.Tile(tile), mine.p_logits.data());
      q_panel.Multiply(q_rows.Tile(tile), mine.q_logits.data());
      for (size_t r = 0; r < p_rows.TileHeight(tile); ++r) {
        summaries_[panel * rows_ + tile * kTileRows + r] =
            vector::SummarizePair(mine.p_logits.data() + r * width, mine.q_logits.data() + r * width, width);
      }
    }
  }

  // `side` picks p or q of a panel's summary.
  Top TopOf(vector::RowSummary vector::PairSummary::*side, size_t t) const {
    float largest = (Summary(0, t).*side).max;
    size_t token = (Summary(0, t).*side).argmax;
    for (size_t panel = 1; panel < panels_; ++panel) {
      const vector::RowSummary& s = Summary(panel, t).*side;
      if (s.max <= largest || std::isnan(largest)) continue;  // a NaN stays
      largest = s.max;
      token = panel * kPanelColumns + s.argmax;
    }
    return {static_cast<double>(largest), token};
  }

  // Panels in order, in f64. With logits relative to each side's largest, P = Σ exp p and Q = Σ exp q, the
  // divergence is Σ exp p (p - q) / P + log(Q / P).
  RowDivergence Join(size_t t) const {
    const Top p = TopOf(&vector::PairSummary::p, t), q = TopOf(&vector::PairSummary::q, t);
    double p_total = 0, q_total = 0, growth = 0, cross = 0;
    for (size_t panel = 0; panel < panels_; ++panel) {
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
  const size_t vocabulary_, panels_;
  size_t rows_ = 0;
  std::vector<vector::PairSummary> summaries_;  // [panel][row]
};

}  // namespace

std::vector<RowDivergence> ComparePanels(const Threads& threads, Compute compute, const HeadInput& p,
                                         const HeadInput& q) {
  std::vector<RowDivergence> rows(p.x.rows);
  Comparison comparison(threads, compute, p, q);
  for (size_t first = 0; first < rows.size(); first += kRowsAtOnce) {
    comparison.Run(first, std::span(rows).subspan(first, std::min(kRowsAtOnce, rows.size() - first)));
  }
  return rows;
}

}  // namespace lowbit
