// SPDX-License-Identifier: Apache-2.0
// AWQ's own loss: how far the output of the attention or the MLP that reads the scaled input moves. Of a mixture of
// experts that is all of them, each row through those that it is sent to.
#pragma once

#include "lowbit/model/layer_module.h"
#include "lowbit/quant/awq.h"

namespace lowbit {

class BlockLoss : public ScaleLoss {
 public:
  // `step`: attn_in or mlp_in, with the readers in the order of the search, of all experts of a mixture. `rows`: what
  // the module reads and makes of it with its own weights (FillOutputs). job.sequences: those that count. What
  // is referred to must outlive this. One Loss at a time.
  BlockLoss(const StagedLayer::Job& job, const LayerWeights& weights, const LayerStep& step,
            const ModuleRows& rows);
  double Loss(std::span<const MatView<const float>> readers) const override;
  double LossUpTo(std::span<const MatView<const float>> readers, double enough) const override;

 private:
  const StagedLayer::Job job_;
  const LayerStep& step_;
  const ModuleRows& rows_;
  double values_ = 0;  // of all outputs
  mutable LayerModule module_;
};

// Fills in the outputs: what a module makes of rows.inputs with the weights it has.
void FillOutputs(const StagedLayer::Job& job, const LayerWeights& weights, LayerStep::Kind kind,
                 ModuleRows& rows);

}  // namespace lowbit
