// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/ref/ref_backend.h"

#include <algorithm>
#include <array>
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

double LogSumExp(std::span<const float> logits, float largest) {
  double total = 0;
  for (const float z : logits) total += std::exp(static_cast<double>(z) - static_cast<double>(largest));
  return static_cast<double>(largest) + std::log(total);
}

class RefPrepared : public Prepared {
 public:
  RefPrepared(Matrix weights, Compute factors, const InputForm& form)
      : weights_(std::move(weights)), factors_(factors), form_(form) {}
  // For products of integers: a copy, as what `weight` refers to may be gone by then.
  explicit RefPrepared(const PackedTensor& packed)
      : weights_(packed.rows, packed.cols), form_(packed.input), packed_(packed) {}
  size_t out() const override { return weights_.rows(); }
  size_t in() const override { return weights_.cols(); }
  MatView<const float> weights() const { return weights_.view(); }
  Compute factors() const { return factors_; }
  const InputForm& form() const { return form_; }
  const PackedTensor& packed() const { return packed_; }

 private:
  Matrix weights_;
  Compute factors_ = Compute::kF32;
  InputForm form_;
  PackedTensor packed_;
};

// Of row `o`: its scales times exact sums of products of integers, group by group, input integers in the columns'
// own order. Without the scale of the inputs.
double IntegerDot(const PackedTensor& packed, size_t o, std::span<const int8_t> integers) {
  std::vector<uint8_t> codes(packed.cols);
  UnpackRow(packed.codes.data() + o * packed.RowBytes(), packed.bits, codes);
  double total = 0;
  for (size_t k = 0; k < packed.Groups(); ++k) {
    const size_t i = o * packed.Groups() + k, end = std::min(packed.cols, (k + 1) * packed.group_size);
    const int zero = packed.symmetric ? 1 << (packed.bits - 1) : packed.zeros[i];
    int64_t sum = 0;
    for (size_t p = k * packed.group_size; p < end; ++p) {
      const size_t column = packed.column_order.empty() ? p : packed.column_order[p];
      sum += int64_t{integers[column]} * (codes[p] - zero);
    }
    total += static_cast<double>(packed.scales[i]) * static_cast<double>(sum);
  }
  return total;
}

class RefBackend : public Backend {
 public:
  RefBackend(Compute compute, const Threads& pool) : Backend(compute, pool) {}
  std::string_view Name() const override { return "ref"; }
  std::string Isa() const override { return "scalar"; }

  using Backend::Prepare;
  std::unique_ptr<Prepared> Prepare(const Weight& weight, Compute factors) const override {
    const InputForm form = InputFormOf(weight);
    if (form.bits > 0)
      return std::make_unique<RefPrepared>(*std::get<std::shared_ptr<const PackedTensor>>(weight));
    Matrix dense(Rows(weight), Cols(weight));
    RowsToFloat(weight, 0, dense.view());
    Round(factors, {dense.data(), dense.rows() * dense.cols()});
    return std::make_unique<RefPrepared>(std::move(dense), factors, form);
  }

  uint64_t PreparedBytes(size_t out, size_t in) const override { return out * in * sizeof(float); }
  uint64_t PreparedBytes(const PackedSettings& weight) const override {
    return weight.input.bits > 0 ? weight.Bytes(DType::kF32) : PreparedBytes(weight.rows, weight.cols);
  }

  void Multiply(MatView<const float> x, std::span<const Product> products) const override {
    for (const Product& product : products) {
      const auto& prepared = static_cast<const RefPrepared&>(product.affine.weight);
      const InputForm& form = prepared.form();
      threads().For(x.rows, [&](size_t t) {
        std::vector<float> input(x.Row(t), x.Row(t) + x.cols);
        if (form.rotation > 0) RotateRow(input, form.rotation);
        std::vector<int8_t> integers(form.bits > 0 ? x.cols : 0);
        const float scale = form.bits > 0 ? RoundInputs(input, form.bits, form.scale, integers) : 0;
        Round(prepared.factors(), input);
        for (size_t o = 0; o < prepared.out(); ++o) {
          auto value = static_cast<float>(
              form.bits > 0 ? static_cast<double>(scale) * IntegerDot(prepared.packed(), o, integers)
                            : Dot(input.data(), prepared.weights().Row(o), x.cols));
          if (!product.affine.bias.empty()) value += product.affine.bias[o];
          float& y = product.y.Row(t)[o];
          y = product.adds ? y + value : value;
        }
      });
    }
  }

  void GatedMultiply(MatView<const float> x, const Affine& gate, const Affine& up,
                     MatView<float> y) const override {
    Matrix ups(y.rows, y.cols);
    Multiply(x, std::array{Product{gate, y}, Product{up, ups.view()}});
    for (size_t t = 0; t < y.rows; ++t) {
      for (size_t i = 0; i < y.cols; ++i) y.Row(t)[i] = Silu(y.Row(t)[i]) * ups.view().Row(t)[i];
    }
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
    std::vector<BranchRows> branches;
    for (const SequenceRows& s : sequences) branches.push_back({s.begin, s.end, {{s.begin, s.end}}});
    AttendBranches(q, k, v, shape, branches, out);
  }

  void AttendBranches(MatView<const float> q, MatView<const float> k, MatView<const float> v,
                      AttentionShape shape, std::span<const BranchRows> branches,
                      MatView<float> out) const override {
    const size_t d = shape.head_dim, queries_per_kv = shape.heads / shape.kv_heads;
    const double scale = 1.0 / std::sqrt(static_cast<double>(d));
    for (const BranchRows& branch : branches) {
      std::vector<size_t> keys;  // rows of k and v, by position
      for (const RowRun& run : branch.keys) {
        for (size_t row = run.begin; row < run.end; ++row) keys.push_back(row);
      }
      const size_t first = keys.size() - (branch.end - branch.begin);  // position of the first query
      threads().For(shape.heads, [&](size_t head) {
        const size_t kv = head / queries_per_kv * d;
        std::vector<double> p(keys.size()), sum(d);
        for (size_t t = branch.begin; t < branch.end; ++t) {
          const size_t seen = first + (t - branch.begin) + 1;
          double largest = -std::numeric_limits<double>::infinity(), total = 0;
          for (size_t u = 0; u < seen; ++u) {
            p[u] = scale * Dot(q.Row(t) + head * d, k.Row(keys[u]) + kv, d);
            largest = std::max(largest, p[u]);
          }
          std::fill(sum.begin(), sum.end(), 0.0);
          for (size_t u = 0; u < seen; ++u) {
            const double weight = std::exp(p[u] - largest);
            total += weight;
            for (size_t i = 0; i < d; ++i) sum[i] += weight * static_cast<double>(v.Row(keys[u])[kv + i]);
          }
          for (size_t i = 0; i < d; ++i) out.Row(t)[head * d + i] = static_cast<float>(sum[i] / total);
        }
      });
    }
  }

  void Add(MatView<float> x, MatView<const float> y) const override {
    for (size_t t = 0; t < x.rows; ++t) {
      for (size_t i = 0; i < x.cols; ++i) x.Row(t)[i] += y.Row(t)[i];
    }
  }

  void AddWeightedRows(MatView<const float> x, std::span<const uint32_t> rows, std::span<const float> weights,
                       MatView<float> y) const override {
    for (size_t i = 0; i < x.rows; ++i) {
      for (size_t c = 0; c < x.cols; ++c) y.Row(rows[i])[c] += weights[i] * x.Row(i)[c];
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

  void AddGram(MatView<const float> x, MatView<double> gram) const override {
    threads().For(x.cols, [&](size_t i) {
      for (size_t t = 0; t < x.rows; ++t) {
        const auto value = static_cast<double>(x.Row(t)[i]);
        for (size_t j = i; j < x.cols; ++j) gram.Row(i)[j] += value * static_cast<double>(x.Row(t)[j]);
      }
    });
  }

  std::vector<ComparedRow> CompareHeads(MatView<const float> x, const Weight& head,
                                        MatView<const float> other, const Weight& other_head,
                                        std::span<const int32_t> targets) const override {
    const std::unique_ptr<Prepared> prepared = Prepare(head), other_prepared = Prepare(other_head);
    const std::vector<TokenScore> scores = ScoreTargets(other, other_head, targets);
    Matrix p(1, prepared->out()), q(1, prepared->out());
    std::vector<ComparedRow> rows(x.rows);
    for (size_t t = 0; t < x.rows; ++t) {
      Gemm(x.Rows(t, 1), *prepared, {}, p.view());
      Gemm(other.Rows(t, 1), *other_prepared, {}, q.view());
      const std::span<const float> a = p.view().RowSpan(0), b = q.view().RowSpan(0);
      const auto top_a = std::ranges::max_element(a), top_b = std::ranges::max_element(b);
      const double log_a = LogSumExp(a, *top_a), log_b = LogSumExp(b, *top_b);
      RowDivergence& divergence = rows[t].divergence;
      for (size_t i = 0; i < a.size(); ++i) {
        const double log_p = static_cast<double>(a[i]) - log_a, log_q = static_cast<double>(b[i]) - log_b;
        divergence.kl += std::exp(log_p) * (log_p - log_q);
      }
      divergence.same_top = top_a - a.begin() == top_b - b.begin();
      rows[t].score = scores[t];
    }
    return rows;
  }

 private:
  static void Round(Compute factors, std::span<float> values) {
    if (factors == Compute::kF32) return;
    for (float& v : values) v = ToFloat(ToBF16(v));
  }
};

}  // namespace

std::unique_ptr<Backend> MakeRefBackend(Compute compute, const Threads& threads) {
  return std::make_unique<RefBackend>(compute, threads);
}

}  // namespace lowbit
