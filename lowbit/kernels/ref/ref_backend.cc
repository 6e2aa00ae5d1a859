// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/ref/ref_backend.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lowbit {
namespace {

// Long sums are taken in double: the reference should be nearer to the truth than what it judges.
double Dot(const float* a, const float* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * static_cast<double>(b[i]);
  return sum;
}

float Silu(float z) {
  return z / (1.0f + std::exp(-z));
}

class RefPrepared : public Prepared {
 public:
  explicit RefPrepared(Matrix weights) : weights_(std::move(weights)) {}
  size_t out() const override { return weights_.rows(); }
  size_t in() const override { return weights_.cols(); }
  MatView<const float> weights() const { return weights_.view(); }

 private:
  Matrix weights_;
};

class RefBackend : public Backend {
 public:
  RefBackend(Compute compute, const Threads& pool) : Backend(compute, pool) {}
  std::string_view Name() const override { return "ref"; }
  std::string Isa() const override { return "scalar"; }

  std::unique_ptr<Prepared> Prepare(const Weight& weight) const override {
    Matrix dense(Rows(weight), Cols(weight));
    RowsToFloat(weight, 0, dense.view());
    RoundToCompute({dense.data(), dense.rows() * dense.cols()});
    return std::make_unique<RefPrepared>(std::move(dense));
  }

  void Gemm(MatView<const float> x, const Prepared& weight, std::span<const float> bias,
            MatView<float> y) const override {
    const MatView<const float> w = static_cast<const RefPrepared&>(weight).weights();
    threads().For(x.rows, [&](size_t t) {
      const std::vector<float> input = Rounded(x.RowSpan(t));
      for (size_t o = 0; o < w.rows; ++o) {
        y.Row(t)[o] = static_cast<float>(Dot(input.data(), w.Row(o), w.cols));
        if (!bias.empty()) y.Row(t)[o] += bias[o];
      }
    });
  }

  void RmsNorm(MatView<const float> x, std::span<const float> weight, float eps,
               MatView<float> y) const override {
    for (size_t t = 0; t < x.rows; ++t) {
      const double mean_square = Dot(x.Row(t), x.Row(t), x.cols) / static_cast<double>(x.cols);
      const auto inverse = static_cast<float>(1.0 / std::sqrt(mean_square + static_cast<double>(eps)));
      for (size_t i = 0; i < x.cols; ++i) y.Row(t)[i] = weight[i] * (x.Row(t)[i] * inverse);
    }
  }

  void Rope(MatView<float> x, const RopeTable& table,
            std::span<const SequenceRows> sequences) const override {
    const size_t half = table.cos.cols(), heads = x.cols / (2 * half);
    for (const SequenceRows& s : sequences) {
      for (size_t t = s.begin; t < s.end; ++t) {
        const float* cos = table.cos.view().Row(s.first_position + t - s.begin);
        const float* sin = table.sin.view().Row(s.first_position + t - s.begin);
        for (size_t h = 0; h < heads; ++h) {
          float* head = x.Row(t) + h * 2 * half;
          for (size_t i = 0; i < half; ++i) {
            const float a = head[i], b = head[i + half];
            head[i] = a * cos[i] - b * sin[i];
            head[i + half] = b * cos[i] + a * sin[i];
          }
        }
      }
    }
  }

  void Attention(MatView<const float> q, MatView<const float> k, MatView<const float> v, AttentionShape shape,
                 std::span<const SequenceRows> sequences, MatView<float> out) const override {
    const size_t d = shape.head_dim, queries_per_kv = shape.heads / shape.kv_heads;
    const double scale = 1.0 / std::sqrt(static_cast<double>(d));
    for (const SequenceRows& s : sequences) {
      threads().For(shape.heads, [&](size_t head) {
        const size_t kv = head / queries_per_kv * d;
        std::vector<double> p(s.end - s.begin), sum(d);
        for (size_t t = s.begin; t < s.end; ++t) {
          double largest = -std::numeric_limits<double>::infinity(), total = 0;
          for (size_t u = s.begin; u <= t; ++u) {
            p[u - s.begin] = scale * Dot(q.Row(t) + head * d, k.Row(u) + kv, d);
            largest = std::max(largest, p[u - s.begin]);
          }
          std::fill(sum.begin(), sum.end(), 0.0);
          for (size_t u = s.begin; u <= t; ++u) {
            const double weight = std::exp(p[u - s.begin] - largest);
            total += weight;
            for (size_t i = 0; i < d; ++i) sum[i] += weight * static_cast<double>(v.Row(u)[kv + i]);
          }
          for (size_t i = 0; i < d; ++i) out.Row(t)[head * d + i] = static_cast<float>(sum[i] / total);
        }
      });
    }
  }

  void GatedActivation(MatView<float> gate, MatView<const float> up) const override {
    for (size_t t = 0; t < gate.rows; ++t) {
      for (size_t i = 0; i < gate.cols; ++i) gate.Row(t)[i] = Silu(gate.Row(t)[i]) * up.Row(t)[i];
    }
  }

  void Add(MatView<float> x, MatView<const float> y) const override {
    for (size_t t = 0; t < x.rows; ++t) {
      for (size_t i = 0; i < x.cols; ++i) x.Row(t)[i] += y.Row(t)[i];
    }
  }

  std::vector<TokenScore> ScoreTargets(MatView<const float> x, const Weight& head,
                                       std::span<const int32_t> targets) const override {
    const std::unique_ptr<Prepared> prepared = Prepare(head);
    std::vector<TokenScore> scores(x.rows);
    Matrix row(1, prepared->out());
    for (size_t t = 0; t < x.rows; ++t) {
      Gemm(x.Rows(t, 1), *prepared, {}, row.view());
      const std::span<const float> logits = row.view().RowSpan(0);
      const auto best = std::max_element(logits.begin(), logits.end());
      double total = 0;
      for (const float z : logits) total += std::exp(static_cast<double>(z) - static_cast<double>(*best));
      const auto target = static_cast<size_t>(targets[t]);
      scores[t].log_prob = static_cast<double>(logits[target]) - static_cast<double>(*best) - std::log(total);
      scores[t].greedy = static_cast<size_t>(best - logits.begin()) == target;
    }
    return scores;
  }

 private:
  void RoundToCompute(std::span<float> values) const {
    if (compute() == Compute::kF32) return;
    for (float& v : values) v = ToFloat(ToBF16(v));
  }
  std::vector<float> Rounded(std::span<const float> values) const {
    std::vector<float> out(values.begin(), values.end());
    RoundToCompute(out);
    return out;
  }
};

}  // namespace

std::unique_ptr<Backend> MakeRefBackend(Compute compute, const Threads& threads) {
  return std::make_unique<RefBackend>(compute, threads);
}

}  // namespace lowbit
