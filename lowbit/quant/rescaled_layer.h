// SPDX-License-Identifier: Apache-2.0
// A layer whose weights took scales on and gave them up: what AWQ and SmoothQuant have in common.
#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lowbit/model/layer_source.h"
#include "lowbit/model/staged_layer.h"
#include "lowbit/quant/awq.h"

namespace lowbit {

// Steps whose readers share scales: one, or of a mixture those of all gates and ups.
struct ScaleGroup {
  LayerStep whole;  // with all readers
  std::vector<LayerStep> steps;
};
std::vector<ScaleGroup> ScaleGroupsOf(const LayerLayout& layout);

// A layer that computes what the original does, in f32, but is easier to round.
struct RescaledLayer {
  std::map<std::string, Matrix, std::less<>> linears;             // [out, in], relative to the layer
  std::map<std::string, std::vector<float>, std::less<>> norms;   // those that gave scales up
  std::map<std::string, std::vector<float>, std::less<>> biases;  // the same
  std::optional<Matrix> router;                                   // [experts, hidden], of a mixture
  std::map<std::string, std::vector<float>, std::less<>> scales;  // by tap, of its readers' columns
  std::map<std::string, AwqChoice, std::less<>> choices;          // by tap; experts share "mlp_in"
  std::vector<std::string> notes;                                 // what could not be done

  Matrix& Linear(const std::string& name) { return linears.find(name)->second; }
  Weight WeightOf(const std::string& linear) const;  // lent by this
};

// A copy of a layer in f32, nothing scaled yet. Throws what reading its weights throws.
RescaledLayer CopyToRescale(const LayerLayout& layout, const LayerWeights& weights, const Threads& threads);

// Columns of the readers of `step` times `scales`, and what produces their input divided by them: a norm, v_proj for
// o_proj, up_proj for down_proj. Of a mixture the readers of "mlp_in" are those of all experts, and the router reads
// it as well.
void FoldScales(const LayerStep& step, std::span<const float> scales, const ModelConfig& config,
                const LayerLayout& layout, RescaledLayer& layer);

}  // namespace lowbit
