// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/staged_layer.h"

#include <algorithm>
#include <array>

namespace lowbit {

std::vector<LayerStep> StepsOf(const LayerLayout& layout) {
  using Kind = LayerStep::Kind;
  std::vector<LayerStep> steps;
  const auto add = [&](Kind kind, std::string tap, size_t expert, std::vector<std::string> readers) {
    const size_t width = layout.Linear(readers[0]).in;
    steps.push_back({kind, std::move(tap), expert, std::move(readers), width});
  };
  constexpr std::array kKinds = {std::pair{"attn_in", Kind::kAttnIn}, std::pair{"attn_out", Kind::kAttnOut},
                                 std::pair{"mlp_in", Kind::kMlpIn}, std::pair{"mlp_mid", Kind::kMlpMid}};
  for (const Stage& stage : layout.stages) {
    for (const auto& [name, kind] : kKinds) {
      if (stage.name == name && stage.fixed_readers.empty()) add(kind, stage.name, 0, stage.readers);
    }
  }
  for (size_t e = 0; layout.experts && e < layout.experts->count; ++e) {
    const auto name = [&](std::string_view which) { return ExpertsLayout::LinearName(e, which); };
    add(Kind::kMlpIn, fmt::format("mlp_in.{}", e), e, {name("gate_proj"), name("up_proj")});
    add(Kind::kMlpMid, fmt::format("mlp_mid.{}", e), e, {name("down_proj")});
  }
  return steps;
}

std::unique_ptr<Activations> ActivationsPlace::Make(size_t rows, size_t cols, size_t held) const {
  if (scratch_folder.empty()) return std::make_unique<Activations>(rows, cols);
  return std::make_unique<Activations>(rows, cols, scratch_folder, held);
}

PreparedLinear PrepareLinear(const Backend& backend, const LayerWeights& weights, const std::string& name,
                             const Weight& weight) {
  PreparedLinear linear{backend.Prepare(weight), {}};
  const auto bias = weights.biases.find(name);
  if (bias != weights.biases.end()) linear.bias = bias->second;
  return linear;
}

StagedLayer::StagedLayer(const Job& job, const LayerWeights& weights, Activations& x)
    : job_(job), weights_(weights), x_(x), groups_(GroupSequences(job.sequences, job.rows_per_group)) {}

StagedLayer::~StagedLayer() = default;

PreparedLinear StagedLayer::Take(const std::string& name, const WeightOf& weight_of) const {
  return PrepareLinear(job_.backend, weights_, name, weight_of(name));
}

std::span<const float> StagedLayer::Norm(const char* name) const {
  const auto it = weights_.norms.find(name);
  return it == weights_.norms.end() ? std::span<const float>() : std::span<const float>(it->second);
}

void StagedLayer::NormRows(const char* norm, MatView<const float> x, MatView<float> normed) const {
  job_.backend.RmsNorm(x, Norm(norm), static_cast<float>(job_.config.rms_norm_eps), normed);
}

void StagedLayer::Inputs(const LayerStep& step, const OnRows& see) {
  if (job_.layout.experts && step.kind == LayerStep::Kind::kMlpIn) {
    if (routes_.empty()) Route();
    const std::span<const uint32_t> rows = routes_[step.expert].rows;
    for (size_t first = 0; first < rows.size(); first += kGramRows) {
      see(Gather(rows.subspan(first, std::min(kGramRows, rows.size() - first))).view());
    }
    return;
  }
  if (job_.layout.experts && step.kind == LayerStep::Kind::kMlpMid) {
    for (size_t first = 0; first < expert_inner_.rows(); first += kGramRows) {
      see(expert_inner_.view().Rows(first, std::min(kGramRows, expert_inner_.rows() - first)));
    }
    return;
  }
  const bool reads_x = step.kind == LayerStep::Kind::kAttnIn || step.kind == LayerStep::Kind::kMlpIn;
  const char* norm = step.kind == LayerStep::Kind::kAttnIn ? "input_layernorm" : "post_attention_layernorm";
  for (const RowGroup& group : groups_) {
    MatView<const float> input;
    if (reads_x) {
      scratch_.Reserve(job_.config, group.rows, false);
      NormRows(norm, x_.Load(group.first, group.rows), scratch_.normed.view().Rows(0, group.rows));
      input = scratch_.normed.view().Rows(0, group.rows);
    } else {
      input = between_->Load(group.first, group.rows);
    }
    for (const SequenceRows& s : group.sequences) see(input.Rows(s.begin, s.end - s.begin));
  }
}

void StagedLayer::Advance(const LayerStep& step, const WeightOf& weight_of) {
  switch (step.kind) {
    case LayerStep::Kind::kAttnIn:
      return AttnIn(step, weight_of);
    case LayerStep::Kind::kAttnOut:
      return AddProduct(step, weight_of);
    case LayerStep::Kind::kMlpIn:
      return job_.layout.experts ? ExpertIn(step, weight_of) : MlpIn(step, weight_of);
    case LayerStep::Kind::kMlpMid:
      return job_.layout.experts ? ExpertOut(step, weight_of) : AddProduct(step, weight_of);
  }
}

void StagedLayer::AttnIn(const LayerStep& step, const WeightOf& weight_of) {
  const ModelConfig& c = job_.config;
  const Backend& backend = job_.backend;
  const PreparedLinear q_linear = Take(step.readers[0], weight_of),
                       k_linear = Take(step.readers[1], weight_of),
                       v_linear = Take(step.readers[2], weight_of);
  const AttentionLinears linears{q_linear, k_linear, v_linear, Norm("self_attn.q_norm"),
                                 Norm("self_attn.k_norm")};
  between_ = job_.place.Make(x_.rows(), c.QuerySize(), MostRows(groups_));
  for (const RowGroup& group : groups_) {
    scratch_.Reserve(c, group.rows, false);
    const MatView<float> normed = scratch_.normed.view().Rows(0, group.rows);
    NormRows("input_layernorm", x_.Load(group.first, group.rows), normed);
    MixHeads(backend, c, job_.rope, group.sequences, linears, normed, scratch_,
             between_->Load(group.first, group.rows, true));
    between_->Store();
  }
}

// o_proj and down_proj: the residual stream takes up what they make of the rows between.
void StagedLayer::AddProduct(const LayerStep& step, const WeightOf& weight_of) {
  const PreparedLinear linear = Take(step.readers[0], weight_of);
  for (const RowGroup& group : groups_) {
    const MatView<float> x = x_.Load(group.first, group.rows);
    job_.backend.Multiply(between_->Load(group.first, group.rows), std::array{Product{linear, x, true}});
    x_.Store();
  }
  between_.reset();
}

void StagedLayer::MlpIn(const LayerStep& step, const WeightOf& weight_of) {
  const PreparedLinear gate = Take(step.readers[0], weight_of), up = Take(step.readers[1], weight_of);
  between_ = job_.place.Make(x_.rows(), job_.config.intermediate_size, MostRows(groups_));
  for (const RowGroup& group : groups_) {
    scratch_.Reserve(job_.config, group.rows, false);
    const MatView<float> normed = scratch_.normed.view().Rows(0, group.rows);
    NormRows("post_attention_layernorm", x_.Load(group.first, group.rows), normed);
    job_.backend.GatedMultiply(normed, gate, up, between_->Load(group.first, group.rows, true));
    between_->Store();
  }
}

// Rows of a mixture, and which expert they go to. In memory: experts pick rows anywhere.
void StagedLayer::Route() {
  between_.reset();
  scratch_ = {};
  normed_ = Matrix(x_.rows(), job_.config.hidden_size);
  for (const RowGroup& group : groups_) {
    NormRows("post_attention_layernorm", x_.Load(group.first, group.rows),
             normed_.view().Rows(group.first, group.rows));
  }
  const auto router = job_.backend.Prepare(*weights_.router, Compute::kF32);
  Matrix logits(x_.rows(), job_.layout.experts->count);
  job_.backend.Multiply(normed_.view(), std::array{Product{{*router}, logits.view()}});
  routes_ = RouteRows(logits.view(), job_.layout.experts->active, job_.layout.experts->normalize);
}

Matrix StagedLayer::Gather(std::span<const uint32_t> rows) const {
  Matrix some(rows.size(), normed_.cols());
  for (size_t i = 0; i < rows.size(); ++i)
    std::ranges::copy(normed_.view().RowSpan(rows[i]), some.view().Row(i));
  return some;
}

void StagedLayer::ExpertIn(const LayerStep& step, const WeightOf& weight_of) {
  if (routes_.empty()) Route();
  const ExpertRows& route = routes_[step.expert];
  expert_inner_ = Matrix();
  if (route.rows.empty()) return;
  const PreparedLinear gate = Take(step.readers[0], weight_of), up = Take(step.readers[1], weight_of);
  expert_inner_ = Matrix(route.rows.size(), job_.config.moe_intermediate_size);
  for (size_t first = 0; first < route.rows.size(); first += kRowsPerMlp) {
    const size_t count = std::min(kRowsPerMlp, route.rows.size() - first);
    const Matrix in = Gather(std::span(route.rows).subspan(first, count));
    job_.backend.GatedMultiply(in.view(), gate, up, expert_inner_.view().Rows(first, count));
  }
}

void StagedLayer::ExpertOut(const LayerStep& step, const WeightOf& weight_of) {
  const ExpertRows& route = routes_[step.expert];
  if (route.rows.empty()) return;
  const PreparedLinear down = Take(step.readers[0], weight_of);
  Matrix out(std::min(route.rows.size(), kRowsPerMlp), job_.config.hidden_size);
  const MatView<float> x = x_.Load(0, x_.rows());
  for (size_t first = 0; first < route.rows.size(); first += kRowsPerMlp) {
    const size_t count = std::min(kRowsPerMlp, route.rows.size() - first);
    const MatView<float> part = out.view().Rows(0, count);
    job_.backend.Multiply(expert_inner_.view().Rows(first, count), std::array{Product{down, part}});
    job_.backend.AddWeightedRows(part, std::span(route.rows).subspan(first, count),
                                 std::span(route.weights).subspan(first, count), x);
  }
  x_.Store();
  expert_inner_ = Matrix();
}

}  // namespace lowbit
