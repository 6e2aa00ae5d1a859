// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/layer_module.h"

#include <algorithm>
#include <array>

namespace lowbit {
namespace {

using Kind = LayerStep::Kind;

// Rows that pass through a module together: few enough that what is between its linears stays near the core and
// that a trial can end early, enough for every thread. A mixture takes job.rows_per_group, as every expert sees a
// small part of them and is prepared anew for each group.
constexpr size_t kModuleRows = 512;

}  // namespace

LayerModule::LayerModule(const StagedLayer::Job& job, const LayerWeights& weights, Kind kind,
                         Activations& inputs)
    : job_(job), weights_(weights), kind_(kind), inputs_(inputs) {
  LOWBIT_ASSERT(kind == Kind::kAttnIn || kind == Kind::kMlpIn);
  const bool mixes = kind == Kind::kMlpIn && job.layout.experts;
  groups_ = GroupSequences(job.sequences, mixes ? job.rows_per_group : kModuleRows);
  output_ = Matrix(MostRows(groups_), job.config.hidden_size);
  if (mixes) {
    Route();
    return;
  }
  const std::string last = kind == Kind::kAttnIn ? "self_attn.o_proj" : "mlp.down_proj";
  last_ = PrepareLinear(job.backend, weights, last, Original(last));
}

void LayerModule::Run(const StagedLayer::WeightOf& weight_of, const OnOutput& see) {
  if (kind_ == Kind::kAttnIn) return Attend(weight_of, see);
  if (job_.layout.experts) return RunExperts(weight_of, see);
  RunMlp(weight_of, see);
}

PreparedLinear LayerModule::Prepare(const std::string& name, const StagedLayer::WeightOf& weight_of) const {
  return PrepareLinear(job_.backend, weights_, name, weight_of(name));
}

std::span<const float> LayerModule::Norm(const char* name) const {
  const auto it = weights_.norms.find(name);
  return it == weights_.norms.end() ? std::span<const float>() : std::span<const float>(it->second);
}

void LayerModule::Attend(const StagedLayer::WeightOf& weight_of, const OnOutput& see) {
  const PreparedLinear q = Prepare("self_attn.q_proj", weight_of), k = Prepare("self_attn.k_proj", weight_of),
                       v = Prepare("self_attn.v_proj", weight_of);
  const AttentionLinears linears{q, k, v, Norm("self_attn.q_norm"), Norm("self_attn.k_norm")};
  scratch_.Reserve(job_.config, MostRows(groups_), false);
  for (const RowGroup& group : groups_) {
    const MatView<float> mixed = scratch_.mixed.view().Rows(0, group.rows),
                         output = output_.view().Rows(0, group.rows);
    MixHeads(job_.backend, job_.config, job_.rope, group.sequences, linears,
             inputs_.Load(group.first, group.rows), scratch_, mixed);
    job_.backend.Multiply(mixed, std::array{Product{last_, output}});
    if (!see(group.first, output)) return;
  }
}

void LayerModule::RunMlp(const StagedLayer::WeightOf& weight_of, const OnOutput& see) {
  const PreparedLinear gate = Prepare("mlp.gate_proj", weight_of), up = Prepare("mlp.up_proj", weight_of);
  if (inner_.rows() == 0) {
    inner_ = Matrix(std::min(kRowsPerMlp, output_.rows()), job_.config.intermediate_size);
  }
  for (const RowGroup& group : groups_) {
    const MatView<const float> rows = inputs_.Load(group.first, group.rows);
    for (size_t first = 0; first < group.rows; first += kRowsPerMlp) {
      const size_t count = std::min(kRowsPerMlp, group.rows - first);
      const MatView<float> inner = inner_.view().Rows(0, count), output = output_.view().Rows(first, count);
      job_.backend.GatedMultiply(rows.Rows(first, count), gate, up, inner);
      job_.backend.Multiply(inner, std::array{Product{last_, output}});
    }
    if (!see(group.first, output_.view().Rows(0, group.rows))) return;
  }
}

void LayerModule::Route() {
  const auto router = job_.backend.Prepare(*weights_.router, Compute::kF32);
  const ExpertsLayout& experts = *job_.layout.experts;
  for (const RowGroup& group : groups_) {
    Matrix logits(group.rows, experts.count);
    const MatView<const float> rows = inputs_.Load(group.first, group.rows);
    job_.backend.Multiply(rows, std::array{Product{{*router}, logits.view()}});
    routes_.push_back(RouteRows(logits.view(), experts.active, experts.normalize));
  }
  expert_in_ = Matrix(std::min(kRowsPerMlp, output_.rows()), job_.config.hidden_size);
  expert_out_ = Matrix(expert_in_.rows(), job_.config.hidden_size);
  inner_ = Matrix(expert_in_.rows(), job_.config.moe_intermediate_size);
}

void LayerModule::RunExperts(const StagedLayer::WeightOf& weight_of, const OnOutput& see) {
  for (size_t g = 0; g < groups_.size(); ++g) {
    const RowGroup& group = groups_[g];
    const MatView<const float> rows = inputs_.Load(group.first, group.rows);
    const MatView<float> output = output_.view().Rows(0, group.rows);
    std::fill_n(output.data, output.rows * output.cols, 0.0f);
    for (size_t e = 0; e < routes_[g].size(); ++e) {
      if (!routes_[g][e].rows.empty()) RunExpert(e, routes_[g][e], rows, weight_of, output);
    }
    if (!see(group.first, output)) return;
  }
}

// In the order of experts, as in the layer itself.
void LayerModule::RunExpert(size_t expert, const ExpertRows& route, MatView<const float> rows,
                            const StagedLayer::WeightOf& weight_of, MatView<float> output) {
  const auto name = [&](std::string_view which) { return ExpertsLayout::LinearName(expert, which); };
  const PreparedLinear gate = Prepare(name("gate_proj"), weight_of), up = Prepare(name("up_proj"), weight_of),
                       down = PrepareLinear(job_.backend, weights_, name("down_proj"),
                                            Original(name("down_proj")));
  for (size_t first = 0; first < route.rows.size(); first += kRowsPerMlp) {
    const size_t count = std::min(kRowsPerMlp, route.rows.size() - first);
    const auto some = std::span(route.rows).subspan(first, count);
    const MatView<float> in = expert_in_.view().Rows(0, count), inner = inner_.view().Rows(0, count),
                         out = expert_out_.view().Rows(0, count);
    for (size_t i = 0; i < count; ++i) std::ranges::copy(rows.RowSpan(some[i]), in.Row(i));
    job_.backend.GatedMultiply(in, gate, up, inner);
    job_.backend.Multiply(inner, std::array{Product{down, out}});
    job_.backend.AddWeightedRows(out, some, std::span(route.weights).subspan(first, count), output);
  }
}

}  // namespace lowbit
