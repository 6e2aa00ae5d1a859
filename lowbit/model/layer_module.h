// SPDX-License-Identifier: Apache-2.0
// The attention or the MLP of a layer by itself, without its norm and the residual stream: what it makes of rows with
// weights that are tried. Made once for many trials.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "lowbit/model/staged_layer.h"

namespace lowbit {

// What a module reads, normalized, and what it makes of that; [rows, hidden] each.
struct ModuleRows {
  std::unique_ptr<Activations> inputs, outputs;
};

class LayerModule {
 public:
  // `kind`: attn_in or mlp_in. job.sequences: of the rows of `inputs`, from 0 on, those that are looked at; all that
  // is referred to must outlive this. The linear that ends the module keeps its weight.
  LayerModule(const StagedLayer::Job& job, const LayerWeights& weights, LayerStep::Kind kind,
              Activations& inputs);

  // Shows the output of all rows in order, some at a time, until `see` returns false. `weight_of` is asked for the
  // module's other linears, of a mixture for those of every expert that a row goes to. Rows go where the router
  // sends them, whatever is tried.
  using OnOutput = std::function<bool(size_t first, MatView<const float> output)>;
  void Run(const StagedLayer::WeightOf& weight_of, const OnOutput& see);

 private:
  void Attend(const StagedLayer::WeightOf& weight_of, const OnOutput& see);
  void RunMlp(const StagedLayer::WeightOf& weight_of, const OnOutput& see);
  void RunExperts(const StagedLayer::WeightOf& weight_of, const OnOutput& see);
  void RunExpert(size_t expert, const ExpertRows& route, MatView<const float> rows,
                 const StagedLayer::WeightOf& weight_of, MatView<float> output);
  void Route();
  Weight Original(const std::string& name) const { return weights_.linears.find(name)->second; }
  PreparedLinear Prepare(const std::string& name, const StagedLayer::WeightOf& weight_of) const;
  std::span<const float> Norm(const char* name) const;

  const StagedLayer::Job job_;
  const LayerWeights& weights_;
  const LayerStep::Kind kind_;
  Activations& inputs_;
  std::vector<RowGroup> groups_;
  PreparedLinear last_;                             // of attention and of a dense MLP
  std::vector<std::vector<ExpertRows>> routes_;     // of a mixture: by group
  LayerScratch scratch_;                            // of attention
  Matrix output_, inner_, expert_in_, expert_out_;  // room for one group, for some rows of an expert
};

}  // namespace lowbit
