// SPDX-License-Identifier: Apache-2.0
// AWQ on one layer: scales searched stage by stage, folded into readers and producers, and bounds on the weights.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "lowbit/kernels/backend.h"
#include "lowbit/model/layer_source.h"
#include "lowbit/model/staged_layer.h"
#include "lowbit/quant/awq.h"
#include "lowbit/quant/calibration_stream.h"
#include "lowbit/quant/rescaled_layer.h"
#include "lowbit/quant/spec.h"

namespace lowbit {

struct AwqLayerJob {
  const ModelConfig& config;
  const LayerLayout& layout;
  const Backend& backend;
  // How a linear is rounded afterwards; nullopt: not at all. One answer for all readers of a step (rules.h).
  std::function<std::optional<WeightSpec>(const std::string& linear)> spec_of;
  const LayerStatistics& inputs;  // of the full-precision model, with Gram matrices
  const Place& place;
  bool clips = true;  // bounds are found and applied; without, the method that rounds sees all of the weights
  const RowWeights* row_weights = nullptr;  // for the Gram matrix's loss; null: all 1
  // How a step's scales are judged; the Gram matrix's loss when empty. Experts share one step, "mlp_in", with the
  // readers of all of them.
  std::function<std::unique_ptr<ScaleLoss>(const LayerStep& step)> loss_of = {};
};

// The gates and ups of all experts of a mixture share one scale, which the router takes on, too; each down has its
// own. An expert that saw no token gets no scale of its own and no bounds, and a note. Throws Error{kNumeric} for
// numbers that do not fit.
RescaledLayer RescaleWithAwq(const AwqLayerJob& job, const LayerWeights& weights);

}  // namespace lowbit
