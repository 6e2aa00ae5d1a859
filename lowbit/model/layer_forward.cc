// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/layer_forward.h"

#include <algorithm>
#include <array>

#include "lowbit/kernels/route.h"

namespace lowbit {

void LayerScratch::Reserve(const ModelConfig& c, size_t rows, bool has_mlp, size_t past_rows) {
  const auto grow = [](Matrix& m, size_t least, size_t cols) {
    if (m.rows() >= least && m.cols() == cols) return;
    m = Matrix();  // before the new one takes memory
    m = Matrix(least, cols);
  };
  grow(normed, rows, c.hidden_size);
  grow(q, rows, c.QuerySize());
  grow(k, rows + past_rows, c.KeyValueSize());
  grow(v, rows + past_rows, c.KeyValueSize());
  grow(mixed, rows, c.QuerySize());
  if (has_mlp) grow(inner, std::min(rows, kRowsPerMlp), c.intermediate_size);
}

std::vector<RowGroup> GroupSequences(std::span<const SequenceRows> sequences, size_t rows_per_group) {
  std::vector<RowGroup> groups;
  for (const SequenceRows& s : sequences) {
    if (groups.empty() || s.end - groups.back().first > rows_per_group) groups.push_back({s.begin, 0, {}});
    RowGroup& group = groups.back();
    group.sequences.push_back({s.begin - group.first, s.end - group.first, s.first_position});
    group.rows = s.end - group.first;
  }
  return groups;
}

size_t MostRows(std::span<const RowGroup> groups) {
  size_t most = 0;
  for (const RowGroup& group : groups) most = std::max(most, group.rows);
  return most;
}

PreparedLayer::PreparedLayer(const LayerSource& source, size_t index, const Backend& backend)
    : config_(source.config()), layout_(source.layout().layers[index]), backend_(backend) {
  LayerWeights weights = source.Layer(index);
  const auto norm = [&](const char* name) {
    const auto it = weights.norms.find(name);
    return it == weights.norms.end() ? std::vector<float>() : std::move(it->second);
  };
  input_norm_ = norm("input_layernorm");
  post_norm_ = norm("post_attention_layernorm");
  q_norm_ = norm("self_attn.q_norm");  // empty in families without
  k_norm_ = norm("self_attn.k_norm");
  q_ = Take(weights, "self_attn.q_proj");
  k_ = Take(weights, "self_attn.k_proj");
  v_ = Take(weights, "self_attn.v_proj");
  o_ = Take(weights, "self_attn.o_proj");
  if (!layout_.experts) {
    gate_ = Take(weights, "mlp.gate_proj");
    up_ = Take(weights, "mlp.up_proj");
    down_ = Take(weights, "mlp.down_proj");
    return;
  }
  // In f32 whatever the rest computes in: a rounded logit sends rows to other experts.
  router_.weight = backend.Prepare(*weights.router, Compute::kF32);
  experts_ = std::move(weights);
}

PreparedLayer::~PreparedLayer() = default;

// The prepared linear; its weights leave `weights`, which frees packed ones.
PreparedLinear PreparedLayer::Take(LayerWeights& weights, const std::string& name) const {
  PreparedLinear linear;
  const auto weight = weights.linears.find(name);
  linear.weight = backend_.Prepare(weight->second);
  weights.linears.erase(weight);
  const auto bias = weights.biases.find(name);
  if (bias != weights.biases.end()) linear.bias = std::move(bias->second);
  return linear;
}

void PreparedLayer::Run(const RopeTable& rope, std::span<const SequenceRows> sequences, size_t rows_per_group,
                        MatView<float> x, LayerScratch& scratch, const OnRouter& on_router) const {
  const std::vector<RowGroup> groups = GroupSequences(sequences, rows_per_group);
  if (groups.empty()) return;
  const size_t begin = sequences.front().begin, end = sequences.back().end;
  scratch.Reserve(config_, MostRows(groups), !layout_.experts);
  for (const RowGroup& group : groups) {
    Attend(rope, group.sequences, x.Rows(group.first, group.rows), scratch);
    if (!layout_.experts) RunMlp(x.Rows(group.first, group.rows), scratch);
  }
  if (!layout_.experts) return;
  scratch = {};  // a mixture's own is larger
  RunExperts(x.Rows(begin, end - begin), on_router);
}

void PreparedLayer::Attend(const RopeTable& rope, std::span<const SequenceRows> sequences, MatView<float> x,
                           LayerScratch& scratch) const {
  const MatView<float> normed = scratch.normed.view().Rows(0, x.rows),
                       mixed = scratch.mixed.view().Rows(0, x.rows);
  backend_.RmsNorm(x, input_norm_, static_cast<float>(config_.rms_norm_eps), normed);
  MixHeads(backend_, config_, rope, sequences, {q_, k_, v_, q_norm_, k_norm_}, normed, scratch, mixed);
  backend_.Multiply(mixed, std::array{Product{o_, x, true}});
}

void NormHeads(const Backend& backend, const ModelConfig& config, std::span<const float> norm,
               MatView<float> x) {
  if (norm.empty()) return;
  const MatView<float> per_head(x.data, x.rows * (x.cols / config.head_dim), config.head_dim);
  backend.RmsNorm(per_head, norm, static_cast<float>(config.rms_norm_eps), per_head);
}

void MixHeads(const Backend& backend, const ModelConfig& c, const RopeTable& rope,
              std::span<const SequenceRows> sequences, const AttentionLinears& linears,
              MatView<const float> normed, LayerScratch& scratch, MatView<float> mixed) {
  const auto part = [&](Matrix& m) { return m.view().Rows(0, normed.rows); };
  const MatView<float> q = part(scratch.q), k = part(scratch.k), v = part(scratch.v);
  backend.Multiply(normed, std::array{Product{linears.q, q}, Product{linears.k, k}, Product{linears.v, v}});
  NormHeads(backend, c, linears.q_norm, q);
  NormHeads(backend, c, linears.k_norm, k);
  backend.Rope(q, rope, sequences);
  backend.Rope(k, rope, sequences);
  backend.Attention(q, k, v, {c.num_attention_heads, c.num_key_value_heads, c.head_dim}, sequences, mixed);
}

void PreparedLayer::RunMlp(MatView<float> x, LayerScratch& scratch) const {
  for (size_t first = 0; first < x.rows; first += kRowsPerMlp) {
    const MatView<float> rows = x.Rows(first, std::min(kRowsPerMlp, x.rows - first));
    const MatView<float> normed = scratch.normed.view().Rows(0, rows.rows),
                         inner = scratch.inner.view().Rows(0, rows.rows);
    backend_.RmsNorm(rows, post_norm_, static_cast<float>(config_.rms_norm_eps), normed);
    backend_.GatedMultiply(normed, gate_, up_, inner);
    backend_.Multiply(inner, std::array{Product{down_, rows, true}});
  }
}

// All rows at once: an expert is prepared once for all that go to it. Its output is added to a row in order
// of experts, so that a row's sum does not depend on what else is in the batch.
void PreparedLayer::RunExperts(MatView<float> x, const OnRouter& on_router) const {
  Matrix normed(x.rows, config_.hidden_size);
  backend_.RmsNorm(x, post_norm_, static_cast<float>(config_.rms_norm_eps), normed.view());
  std::vector<ExpertRows> routes;
  {
    Matrix logits(x.rows, layout_.experts->count);
    backend_.Multiply(normed.view(), std::array{Product{router_, logits.view()}});
    if (on_router) on_router(logits.view());
    routes = RouteRows(logits.view(), layout_.experts->active, layout_.experts->normalize);
  }
  for (size_t e = 0; e < routes.size(); ++e) {
    if (!routes[e].rows.empty()) RunExpert(e, normed.view(), routes[e].rows, routes[e].weights, x);
  }
}

void PreparedLayer::RunExpert(size_t expert, MatView<const float> normed, std::span<const uint32_t> rows,
                              std::span<const float> weights, MatView<float> x) const {
  const auto prepare = [&](std::string_view which) {
    const std::string name = ExpertsLayout::LinearName(expert, which);
    const Weight& weight = experts_.linears.find(name)->second;
    PreparedLinear linear{backend_.Prepare(weight), {}};
    ReleaseRows(weight, 0, Rows(weight));
    return linear;
  };
  const PreparedLinear gate = prepare("gate_proj"), up = prepare("up_proj"), down = prepare("down_proj");
  const size_t most = std::min(rows.size(), kRowsPerMlp);
  Matrix in(most, config_.hidden_size), inner(most, config_.moe_intermediate_size),
      out(most, config_.hidden_size);
  for (size_t first = 0; first < rows.size(); first += most) {
    const std::span<const uint32_t> some = rows.subspan(first, std::min(most, rows.size() - first));
    const auto part = [&](Matrix& m) { return m.view().Rows(0, some.size()); };
    for (size_t i = 0; i < some.size(); ++i) {
      std::ranges::copy(normed.RowSpan(some[i]), in.view().Row(i));
    }
    backend_.GatedMultiply(part(in), gate, up, part(inner));
    backend_.Multiply(part(inner), std::array{Product{down, part(out)}});
    backend_.AddWeightedRows(part(out), some, weights.subspan(first, some.size()), x);
  }
}

}  // namespace lowbit
