// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/row_weights.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "lowbit/tensor/dense_view.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

constexpr float kNoise = 0.01f;  // of a row's weights: enough for f32, little enough to be linear
constexpr size_t kColumns = 64;  // of one task

using Sums = std::vector<double>;

// body(row, column) of all rows, summed by column in the order of rows.
template <class F>
void AddByColumn(size_t rows, const Threads& threads, Sums& sums, const F& body) {
  threads.For((sums.size() + kColumns - 1) / kColumns, [&](size_t task) {
    const size_t end = std::min(sums.size(), (task + 1) * kColumns);
    for (size_t t = 0; t < rows; ++t) {
      for (size_t j = task * kColumns; j < end; ++j) sums[j] += body(t, j);
    }
  });
}

Matrix FloatsOf(const Weight& weight) {
  Matrix m(Rows(weight), Cols(weight));
  RowsToFloat(weight, 0, m.view());
  return m;
}

// Σ_o W_oj² of every column j: what one unit of the linear's input is worth in its output, squared.
Sums ColumnNorms(const Weight& weight, const Threads& threads) {
  const Matrix m = FloatsOf(weight);
  Sums norms(m.cols());
  AddByColumn(m.rows(), threads, norms, [&](size_t o, size_t j) {
    const auto w = static_cast<double>(m.view().Row(o)[j]);
    return w * w;
  });
  return norms;
}

const Weight& WeightOf(const LayerWeights& weights, const std::string& name) {
  return weights.linears.find(name)->second;
}

PreparedLinear PrepareF32(const Backend& backend, const LayerWeights& weights, const std::string& name,
                          const Weight& weight) {
  PreparedLinear linear{backend.Prepare(weight, Compute::kF32), {}};
  const auto bias = weights.biases.find(name);
  if (bias != weights.biases.end()) linear.bias = bias->second;
  return linear;
}

// q, k or v, with and without noise.
struct Role {
  Role(const Backend& backend, const LayerWeights& weights, const std::string& linear, uint32_t seed)
      : name(linear) {
    Matrix changed = FloatsOf(WeightOf(weights, name));
    Matrix errors = RandomMatrix(changed.rows(), changed.cols(), seed);
    for (size_t r = 0; r < changed.rows(); ++r) {
      float *w = changed.view().Row(r), *e = errors.view().Row(r);
      double squares = 0;
      for (size_t j = 0; j < changed.cols(); ++j) squares += static_cast<double>(w[j]) * w[j];
      const auto size = kNoise * static_cast<float>(std::sqrt(squares / static_cast<double>(changed.cols())));
      for (size_t j = 0; j < changed.cols(); ++j) {
        e[j] *= size;
        w[j] += e[j];
      }
    }
    original = PrepareF32(backend, weights, name, WeightOf(weights, name));
    noisy = PrepareF32(backend, weights, name, DenseView(changed));
    noise = {backend.Prepare(DenseView(errors), Compute::kF32), {}};
    put_in = Sums(changed.rows());
  }

  std::string name;
  PreparedLinear original, noisy, noise;
  Sums put_in;    // by the linear's outputs: Σ of what noise does to them, squared
  Sums came_out;  // by what o_proj reads: the same, each column worth its norm
};

double Total(const Sums& sums, size_t first, size_t count) {
  double total = 0;
  for (size_t i = first; i < first + count; ++i) total += sums[i];
  return total;
}

float Ratio(double out, double in) {
  return in > 0 ? static_cast<float>(out / in) : 1.0f;  // inputs of nothing but 0 have no loss either way
}

std::span<const float> Norm(const LayerWeights& weights, const char* name) {
  const auto it = weights.norms.find(name);
  return it == weights.norms.end() ? std::span<const float>() : std::span<const float>(it->second);
}

// A gate and an up over rows that they see.
class GatedWeights {
 public:
  GatedWeights(const StagedLayer::Job& job, const LayerWeights& weights, const std::string& prefix)
      : job_(job),
        prefix_(prefix),
        gate_(
            PrepareF32(job.backend, weights, prefix + "gate_proj", WeightOf(weights, prefix + "gate_proj"))),
        up_(PrepareF32(job.backend, weights, prefix + "up_proj", WeightOf(weights, prefix + "up_proj"))),
        norms_(ColumnNorms(WeightOf(weights, prefix + "down_proj"), job.backend.threads())),
        of_gate_(norms_.size()),
        of_up_(norms_.size()) {}

  // `shares`: of each row in the output; empty: all 1.
  void Add(MatView<const float> rows, std::span<const float> shares) {
    Matrix g(rows.rows, norms_.size()), u(rows.rows, norms_.size());
    job_.backend.Multiply(rows, std::array{Product{gate_, g.view()}, Product{up_, u.view()}});
    const auto share = [&](size_t t) { return shares.empty() ? 1.0 : static_cast<double>(shares[t]); };
    const auto sigmoid = [&](size_t t, size_t i) { return 1 / (1 + std::exp(-double{g.view().Row(t)[i]})); };
    AddByColumn(rows.rows, job_.backend.threads(), of_gate_, [&](size_t t, size_t i) {
      const double x = g.view().Row(t)[i], s = sigmoid(t, i);
      const double slope = s * (1 + x * (1 - s)) * double{u.view().Row(t)[i]} * share(t);
      return slope * slope;
    });
    AddByColumn(rows.rows, job_.backend.threads(), of_up_, [&](size_t t, size_t i) {
      const double slope = double{g.view().Row(t)[i]} * sigmoid(t, i) * share(t);
      return slope * slope;
    });
    tokens_ += rows.rows;
  }

  void MoveInto(RowWeights& result) const {
    const auto tokens = static_cast<double>(std::max<size_t>(1, tokens_));
    std::vector<float> gate, up;
    for (size_t i = 0; i < norms_.size(); ++i) {
      gate.push_back(static_cast<float>(norms_[i] * of_gate_[i] / tokens));
      up.push_back(static_cast<float>(norms_[i] * of_up_[i] / tokens));
    }
    result[prefix_ + "gate_proj"] = std::move(gate);
    result[prefix_ + "up_proj"] = std::move(up);
  }

 private:
  const StagedLayer::Job& job_;
  std::string prefix_;
  PreparedLinear gate_, up_;
  Sums norms_, of_gate_, of_up_;  // by row of gate and up
  size_t tokens_ = 0;
};

// Rows of all groups by expert, and how much the expert counts for them.
std::vector<ExpertRows> RoutesOf(const StagedLayer::Job& job, const LayerWeights& weights,
                                 std::span<const RowGroup> groups, Activations& inputs) {
  const ExpertsLayout& experts = *job.layout.experts;
  const auto router = job.backend.Prepare(*weights.router, Compute::kF32);
  std::vector<ExpertRows> all(experts.count);
  for (const RowGroup& group : groups) {
    Matrix logits(group.rows, experts.count);
    job.backend.Multiply(inputs.Load(group.first, group.rows), std::array{Product{{*router}, logits.view()}});
    const std::vector<ExpertRows> some = RouteRows(logits.view(), experts.active, experts.normalize);
    for (size_t e = 0; e < experts.count; ++e) {
      for (const uint32_t row : some[e].rows) all[e].rows.push_back(row + static_cast<uint32_t>(group.first));
      all[e].weights.insert(all[e].weights.end(), some[e].weights.begin(), some[e].weights.end());
    }
  }
  return all;
}

void AddExpertRows(const ExpertRows& route, std::span<const RowGroup> groups, Activations& inputs,
                   GatedWeights& sums) {
  size_t next = 0;
  for (const RowGroup& group : groups) {
    const size_t begin = next;
    while (next < route.rows.size() && route.rows[next] < group.first + group.rows) ++next;
    if (next == begin) continue;
    const MatView<const float> rows = inputs.Load(group.first, group.rows);
    Matrix some(next - begin, rows.cols);
    for (size_t i = begin; i < next; ++i) {
      std::ranges::copy(rows.RowSpan(route.rows[i] - group.first), some.view().Row(i - begin));
    }
    sums.Add(some.view(), std::span(route.weights).subspan(begin, next - begin));
  }
}

}  // namespace

RowWeights AttentionRowWeights(const StagedLayer::Job& job, const LayerWeights& weights,
                               Activations& inputs) {
  const ModelConfig& c = job.config;
  const Threads& threads = job.backend.threads();
  std::vector<Role> roles;
  for (const char* name : {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}) {
    roles.emplace_back(job.backend, weights, name, static_cast<uint32_t>(roles.size() + 1));
    roles.back().came_out = Sums(c.QuerySize());
  }
  const Sums norms = ColumnNorms(WeightOf(weights, "self_attn.o_proj"), threads);
  const std::vector<RowGroup> groups = GroupSequences(job.sequences, kRowsPerMlp);
  LayerScratch scratch;
  scratch.Reserve(c, MostRows(groups), false);
  Matrix before(MostRows(groups), c.QuerySize()), change(MostRows(groups), c.QuerySize());
  for (const RowGroup& group : groups) {
    const MatView<const float> rows = inputs.Load(group.first, group.rows);
    const auto mix = [&](const Role* changed, MatView<float> mixed) {
      const auto linear = [&](size_t i) -> Affine {
        return &roles[i] == changed ? roles[i].noisy : roles[i].original;
      };
      MixHeads(job.backend, c, job.rope, group.sequences,
               {linear(0), linear(1), linear(2), Norm(weights, "self_attn.q_norm"),
                Norm(weights, "self_attn.k_norm")},
               rows, scratch, mixed);
    };
    const MatView<float> was = before.view().Rows(0, group.rows);
    mix(nullptr, was);
    for (Role& role : roles) {
      const MatView<float> is = scratch.mixed.view().Rows(0, group.rows);
      mix(&role, is);
      AddByColumn(group.rows, threads, role.came_out, [&](size_t t, size_t i) {
        const double d = static_cast<double>(is.Row(t)[i]) - static_cast<double>(was.Row(t)[i]);
        return d * d * norms[i];
      });
      const MatView<float> moved(change.data(), group.rows, role.put_in.size());
      job.backend.Multiply(rows, std::array{Product{role.noise, moved}});
      AddByColumn(group.rows, threads, role.put_in, [&](size_t t, size_t i) {
        const auto d = static_cast<double>(moved.Row(t)[i]);
        return d * d;
      });
    }
  }

  const size_t d = c.head_dim, shared = c.num_attention_heads / c.num_key_value_heads;
  RowWeights result;
  for (const Role& role : roles) {
    std::vector<float>& of_rows = result[role.name];
    for (size_t r = 0; r < role.put_in.size(); ++r) {
      const size_t head = r / d, heads = &role == &roles[0] ? 1 : shared;
      if (&role != &roles[2]) {
        of_rows.push_back(
            Ratio(Total(role.came_out, head * heads * d, heads * d), Total(role.put_in, head * d, d)));
        continue;
      }
      double out = 0;
      for (size_t h = 0; h < shared; ++h) out += role.came_out[(head * shared + h) * d + r % d];
      of_rows.push_back(Ratio(out, role.put_in[r]));
    }
  }
  return result;
}

RowWeights MlpRowWeights(const StagedLayer::Job& job, const LayerWeights& weights, Activations& inputs) {
  const std::vector<RowGroup> groups = GroupSequences(job.sequences, kRowsPerMlp);
  RowWeights result;
  if (!job.layout.experts) {
    GatedWeights sums(job, weights, "mlp.");
    for (const RowGroup& group : groups) sums.Add(inputs.Load(group.first, group.rows), {});
    sums.MoveInto(result);
    return result;
  }
  const std::vector<ExpertRows> routes = RoutesOf(job, weights, groups, inputs);
  for (size_t e = 0; e < routes.size(); ++e) {
    GatedWeights sums(job, weights, ExpertsLayout::LinearName(e, ""));
    AddExpertRows(routes[e], groups, inputs, sums);
    sums.MoveInto(result);
  }
  return result;
}

}  // namespace lowbit
