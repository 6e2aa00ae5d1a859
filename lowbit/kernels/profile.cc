// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/profile.h"

#include <fmt/format.h>

#include <algorithm>

#include "lowbit/base/stopwatch.h"
#include "lowbit/tensor/dense_view.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

double ProductFlop(size_t rows, size_t in, size_t out) {
  return 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(out);
}

}  // namespace

ProfiledBackend::ProfiledBackend(std::unique_ptr<Backend> inner)
    : Backend(inner->compute(), inner->threads()), inner_(std::move(inner)) {}

ProfiledBackend::~ProfiledBackend() = default;

template <class F>
auto ProfiledBackend::Timed(const std::string& operation, double flop, F&& body) const {
  Row& row = rows_[operation];
  struct Add {
    Row& row;
    double flop;
    Stopwatch watch = {};
    ~Add() {
      ++row.shown.calls;
      row.shown.seconds += watch.Seconds();
      row.shown.flop += flop;
    }
  } add{row, flop};
  return body();
}

std::unique_ptr<Prepared> ProfiledBackend::Prepare(const Weight& weight, Compute factors) const {
  return Timed("prepare weights", 0, [&] { return inner_->Prepare(weight, factors); });
}

void ProfiledBackend::Multiply(MatView<const float> x, std::span<const Product> products) const {
  size_t out = 0;
  for (const Product& product : products) out += product.affine.weight.out();
  const std::string name = fmt::format("product {} → {}", x.cols, out);
  Timed(name, ProductFlop(x.rows, x.cols, out), [&] { inner_->Multiply(x, products); });
  rows_[name].in = x.cols;
  rows_[name].out = out;
}

void ProfiledBackend::GatedMultiply(MatView<const float> x, const Affine& gate, const Affine& up,
                                    MatView<float> y) const {
  const size_t out = gate.weight.out() + up.weight.out();
  const std::string name = fmt::format("gated product {} → {}", x.cols, out);
  Timed(name, ProductFlop(x.rows, x.cols, out), [&] { inner_->GatedMultiply(x, gate, up, y); });
  rows_[name].in = x.cols;
  rows_[name].out = out;
}

void ProfiledBackend::RmsNorm(MatView<const float> x, std::span<const float> weight, float eps,
                              MatView<float> y) const {
  Timed("rms norm", 0, [&] { inner_->RmsNorm(x, weight, eps, y); });
}

void ProfiledBackend::Rope(MatView<float> x, const RopeTable& table,
                           std::span<const SequenceRows> sequences) const {
  Timed("rotary embedding", 0, [&] { inner_->Rope(x, table, sequences); });
}

void ProfiledBackend::Attention(MatView<const float> q, MatView<const float> k, MatView<const float> v,
                                AttentionShape shape, std::span<const SequenceRows> sequences,
                                MatView<float> out) const {
  double pairs = 0;
  for (const SequenceRows& s : sequences) {
    const auto n = static_cast<double>(s.end - s.begin);
    pairs += n * (n + 1) / 2;
  }
  Timed("attention", 4.0 * pairs * static_cast<double>(shape.heads * shape.head_dim),
        [&] { inner_->Attention(q, k, v, shape, sequences, out); });
}

void ProfiledBackend::AttendBranches(MatView<const float> q, MatView<const float> k, MatView<const float> v,
                                     AttentionShape shape, std::span<const BranchRows> branches,
                                     MatView<float> out) const {
  double pairs = 0;
  for (const BranchRows& b : branches) {
    const auto n = static_cast<double>(b.end - b.begin), last = static_cast<double>(b.Positions());
    pairs += n * (last - n) + n * (n + 1) / 2;
  }
  Timed("attention of branches", 4.0 * pairs * static_cast<double>(shape.heads * shape.head_dim),
        [&] { inner_->AttendBranches(q, k, v, shape, branches, out); });
}

void ProfiledBackend::Add(MatView<float> x, MatView<const float> y) const {
  Timed("add", 0, [&] { inner_->Add(x, y); });
}

void ProfiledBackend::AddWeightedRows(MatView<const float> x, std::span<const uint32_t> rows,
                                      std::span<const float> weights, MatView<float> y) const {
  Timed("add experts", 0, [&] { inner_->AddWeightedRows(x, rows, weights, y); });
}

std::vector<TokenScore> ProfiledBackend::ScoreTargets(MatView<const float> x, const Weight& head,
                                                      std::span<const int32_t> targets) const {
  const size_t vocabulary = lowbit::Rows(head);
  const std::string name = fmt::format("head {} → {}", x.cols, vocabulary);
  auto scores = Timed(name, ProductFlop(x.rows, x.cols, vocabulary),
                      [&] { return inner_->ScoreTargets(x, head, targets); });
  rows_[name].in = x.cols;
  rows_[name].out = std::min<size_t>(vocabulary, 4096);  // its own rate is that of a part
  return scores;
}

void ProfiledBackend::AddGram(MatView<const float> x, MatView<double> gram) const {
  const auto width = static_cast<double>(x.cols);
  Timed(fmt::format("gram {0}×{0}", x.cols), static_cast<double>(x.rows) * width * (width + 1),
        [&] { inner_->AddGram(x, gram); });
}

std::vector<ComparedRow> ProfiledBackend::CompareHeads(MatView<const float> x, const Weight& head,
                                                       MatView<const float> other, const Weight& other_head,
                                                       std::span<const int32_t> targets) const {
  const size_t vocabulary = lowbit::Rows(head);
  return Timed(fmt::format("two heads {} → {}", x.cols, vocabulary),
               2 * ProductFlop(x.rows, x.cols, vocabulary),
               [&] { return inner_->CompareHeads(x, head, other, other_head, targets); });
}

// The best of a few products of 1024 rows.
double ProfiledBackend::OwnRate(size_t in, size_t out) const {
  constexpr size_t kRows = 1024, kRuns = 5;
  const Matrix w = RandomMatrix(out, in), x = RandomMatrix(kRows, in);
  Matrix y(kRows, out);
  const auto prepared = inner_->Prepare(DenseView(w));
  double best = 0;
  for (size_t run = 0; run < kRuns; ++run) {
    const double seconds = SecondsOf([&] { inner_->Gemm(x.view(), *prepared, {}, y.view()); });
    best = std::max(best, ProductFlop(kRows, in, out) / seconds);
  }
  return best;
}

std::vector<ProfileRow> ProfiledBackend::Rows() const {
  std::vector<ProfileRow> rows;
  for (const auto& [name, row] : rows_) {
    rows.push_back(row.shown);
    rows.back().operation = name;
    if (row.out > 0) rows.back().own_rate = OwnRate(row.in, row.out);
  }
  std::ranges::sort(rows, std::greater(), &ProfileRow::seconds);
  return rows;
}

std::string ProfileText(const std::vector<ProfileRow>& rows, double wall) {
  std::string text = fmt::format("{:<32} {:>8} {:>9} {:>7} {:>9} {:>12}\n", "operation", "calls", "seconds",
                                 "share", "GFLOP/s", "of own rate");
  double seconds = 0;
  for (const ProfileRow& row : rows) {
    seconds += row.seconds;
    const double rate = row.flop / row.seconds;
    text +=
        fmt::format("{:<32} {:>8} {:>9.3f} {:>6.1f}% {:>9} {:>12}\n", row.operation, row.calls, row.seconds,
                    100 * row.seconds / wall, row.flop > 0 ? fmt::format("{:.1f}", rate / 1e9) : "",
                    row.own_rate > 0 ? fmt::format("{:.0f}%", 100 * rate / row.own_rate) : "");
  }
  return text + fmt::format("{:<32} {:>8} {:>9.3f} {:>6.1f}%\n", "everything else", "", wall - seconds,
                            100 * (wall - seconds) / wall);
}

}  // namespace lowbit
