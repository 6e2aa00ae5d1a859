// SPDX-License-Identifier: Apache-2.0
// AWQ's own loss: how far the output of the attention or the MLP that reads the scaled input moves. Dense layers.
#pragma once

#include <memory>

#include "lowbit/model/staged_layer.h"
#include "lowbit/quant/awq.h"

namespace lowbit {

// `x`: the rows of the residual stream that the module reads, before its norm: the layer's input for step attn_in,
// what attention made of it for mlp_in. It is read again by every Loss. Kept: as many rows of the module's
// output, and room for as many. What is referred to must outlive this.
class BlockLoss : public ScaleLoss {
 public:
  BlockLoss(const StagedLayer::Job& job, const LayerWeights& weights, const LayerStep& step, Activations& x);
  double Loss(std::span<const MatView<const float>> readers) const override;

 private:
  // The residual stream after the module, its readers replaced by `weight_of`.
  std::unique_ptr<Activations> After(const StagedLayer::WeightOf& weight_of) const;

  const StagedLayer::Job& job_;
  const LayerWeights& weights_;
  const LayerStep& step_;
  LayerStep out_;  // o_proj, down_proj
  Activations& x_;
  std::unique_ptr<Activations> original_;
};

}  // namespace lowbit
