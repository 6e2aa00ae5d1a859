// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/layer_forward.h"

#include <algorithm>

namespace lowbit {

// Activations of one group of sequences; the largest group decides their size.
struct PreparedLayer::Scratch {
  Scratch(const ModelConfig& c, size_t rows)
      : normed(rows, c.hidden_size),
        q(rows, c.QuerySize()),
        k(rows, c.KeyValueSize()),
        v(rows, c.KeyValueSize()),
        mixed(rows, c.QuerySize()),
        gate(rows, c.intermediate_size),
        up(rows, c.intermediate_size),
        delta(rows, c.hidden_size) {}
  Matrix normed, q, k, v, mixed, gate, up, delta;
};

PreparedLayer::PreparedLayer(const LayerWeights& weights, const Backend& backend)
    : backend_(backend), norms_(weights.norms.begin(), weights.norms.end()) {
  for (const auto& [name, weight] : weights.linears) {
    const auto bias = weights.biases.find(name);
    linears_.emplace(name, Linear{backend.Prepare(weight),
                                  bias == weights.biases.end() ? std::vector<float>() : bias->second});
  }
}

void PreparedLayer::Run(const ModelConfig& config, const RopeTable& rope,
                        std::span<const SequenceRows> sequences, MatView<float> x) const {
  // Groups of whole neighbouring sequences.
  std::vector<std::span<const SequenceRows>> groups;
  size_t first = 0, most_rows = 0;
  for (size_t i = 1; i <= sequences.size(); ++i) {
    if (i < sequences.size() && sequences[i].end - sequences[first].begin <= kRowsPerGroup) continue;
    groups.push_back(sequences.subspan(first, i - first));
    most_rows = std::max(most_rows, sequences[i - 1].end - sequences[first].begin);
    first = i;
  }
  Scratch scratch(config, most_rows);
  for (const std::span<const SequenceRows> group : groups) RunGroup(config, rope, group, x, scratch);
}

void PreparedLayer::RunGroup(const ModelConfig& config, const RopeTable& rope,
                             std::span<const SequenceRows> sequences, MatView<float> x_all,
                             Scratch& scratch) const {
  const size_t begin = sequences.front().begin, rows = sequences.back().end - begin;
  std::vector<SequenceRows> local(sequences.begin(), sequences.end());
  for (SequenceRows& s : local) s = {s.begin - begin, s.end - begin, s.first_position};
  const auto part = [&](Matrix& m) { return m.view().Rows(0, rows); };
  const MatView<float> x = x_all.Rows(begin, rows), normed = part(scratch.normed), q = part(scratch.q),
                       k = part(scratch.k), v = part(scratch.v), mixed = part(scratch.mixed),
                       gate = part(scratch.gate), up = part(scratch.up), delta = part(scratch.delta);
  const auto eps = static_cast<float>(config.rms_norm_eps);

  backend_.RmsNorm(x, norms_.find("input_layernorm")->second, eps, normed);
  Multiply("self_attn.q_proj", normed, q);
  Multiply("self_attn.k_proj", normed, k);
  Multiply("self_attn.v_proj", normed, v);
  NormHeads("self_attn.q_norm", config, q);
  NormHeads("self_attn.k_norm", config, k);
  backend_.Rope(q, rope, local);
  backend_.Rope(k, rope, local);
  backend_.Attention(q, k, v, {config.num_attention_heads, config.num_key_value_heads, config.head_dim},
                     local, mixed);
  Multiply("self_attn.o_proj", mixed, delta);
  backend_.Add(x, delta);

  backend_.RmsNorm(x, norms_.find("post_attention_layernorm")->second, eps, normed);
  Multiply("mlp.gate_proj", normed, gate);
  Multiply("mlp.up_proj", normed, up);
  backend_.GatedActivation(gate, up);
  Multiply("mlp.down_proj", gate, delta);
  backend_.Add(x, delta);
}

void PreparedLayer::Multiply(std::string_view name, MatView<const float> x, MatView<float> y) const {
  const Linear& linear = linears_.find(name)->second;
  backend_.Gemm(x, *linear.weight, linear.bias, y);
}

// One norm vector of head_dim values, shared by all heads; families without it have no such tensor.
void PreparedLayer::NormHeads(std::string_view norm, const ModelConfig& config, MatView<float> x) const {
  const auto weight = norms_.find(norm);
  if (weight == norms_.end()) return;
  const size_t heads = x.cols / config.head_dim;
  const MatView<float> per_head(x.data, x.rows * heads, config.head_dim);
  backend_.RmsNorm(per_head, weight->second, static_cast<float>(config.rms_norm_eps), per_head);
}

}  // namespace lowbit
