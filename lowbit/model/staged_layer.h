// SPDX-License-Identifier: Apache-2.0
// One decoder layer taken step by step, for methods that must see what linears read before they decide about
// their weights: the layer is run once, however many steps it has. Bit for bit PreparedLayer::Run.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lowbit/kernels/route.h"
#include "lowbit/model/activations.h"
#include "lowbit/model/layer_forward.h"

namespace lowbit {

// Linears that see the same rows. The stages of the layout; of a mixture an expert's gate and up, and its down, are
// steps of their own, as every expert sees its own rows.
struct LayerStep {
  enum class Kind : uint8_t { kAttnIn, kAttnOut, kMlpIn, kMlpMid };
  Kind kind = Kind::kAttnIn;
  std::string tap;  // "attn_in", "mlp_mid", of expert 5 "mlp_in.5", "mlp_mid.5"
  size_t expert = 0;
  std::vector<std::string> readers;  // relative to the layer: "self_attn.q_proj"
  size_t width = 0;                  // of what they read
};
std::vector<LayerStep> StepsOf(const LayerLayout& layout);

// Where activations between steps are held.
struct ActivationsPlace {
  std::string scratch_folder;  // empty: in memory
  std::unique_ptr<Activations> Make(size_t rows, size_t cols, size_t held) const;
};

// A linear in the backend's layout, with the layer's bias.
PreparedLinear PrepareLinear(const Backend& backend, const LayerWeights& weights, const std::string& name,
                             const Weight& weight);

class StagedLayer {
 public:
  // Weights by name relative to the layer, norms and biases and the router included. What it refers to must
  // outlive this.
  struct Job {
    const ModelConfig& config;
    const LayerLayout& layout;
    const Backend& backend;
    const RopeTable& rope;
    std::span<const SequenceRows> sequences;  // all rows of x, neighbours
    size_t rows_per_group = kRowsPerGroup;    // that pass through attention together
    ActivationsPlace place = {};
  };
  // `x` [rows, hidden], the layer's input, is its output after the last step.
  StagedLayer(const Job& job, const LayerWeights& weights, Activations& x);
  ~StagedLayer();

  // Shows what the readers of the next step see, some whole sequences' rows at a time; of a mixture's expert its
  // rows, kGramRows at a time. How rows come does not depend on rows_per_group.
  using OnRows = std::function<void(MatView<const float> rows)>;
  void Inputs(const LayerStep& step, const OnRows& see);

  // Carries the rows through the readers of the next step, which have these weights now.
  using WeightOf = std::function<Weight(const std::string& linear)>;
  void Advance(const LayerStep& step, const WeightOf& weight_of);

 private:
  PreparedLinear Take(const std::string& name, const WeightOf& weight_of) const;
  std::span<const float> Norm(const char* name) const;
  void NormRows(const char* norm, MatView<const float> x, MatView<float> normed) const;
  void AttnIn(const LayerStep& step, const WeightOf& weight_of);
  void AddProduct(const LayerStep& step, const WeightOf& weight_of);
  void MlpIn(const LayerStep& step, const WeightOf& weight_of);
  void ExpertIn(const LayerStep& step, const WeightOf& weight_of);
  void ExpertOut(const LayerStep& step, const WeightOf& weight_of);
  void Route();
  Matrix Gather(std::span<const uint32_t> rows) const;

  Job job_;
  const LayerWeights& weights_;
  Activations& x_;
  std::vector<RowGroup> groups_;
  LayerScratch scratch_;
  std::unique_ptr<Activations> between_;  // mixed, then inner
  Matrix normed_, expert_inner_;          // of a mixture
  std::vector<ExpertRows> routes_;
};

}  // namespace lowbit
