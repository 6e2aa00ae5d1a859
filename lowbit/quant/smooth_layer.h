// SPDX-License-Identifier: Apache-2.0
// SmoothQuant on one layer: inputs with large channels become smaller, their readers' columns larger, by a formula.
// Source: arXiv 2211.10438 and its published code; docs/methods.md.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lowbit/quant/calibration_stream.h"
#include "lowbit/quant/rescaled_layer.h"
#include "lowbit/quant/spec.h"

namespace lowbit {

// s_j = max(x_j^alpha / max(w_j, 1e-5)^(1 - alpha), 1e-5), in f32: x_j = max|x| of a channel over the calibration
// tokens, w_j = max|w| of its column over all readers. Of one length.
std::vector<float> SmoothScales(std::span<const float> largest_inputs, std::span<const float> largest_weights,
                                double alpha);

struct SmoothLayerJob {
  const ModelConfig& config;
  const LayerLayout& layout;
  const Threads& threads;
  const SmoothOptions& options;
  // How a linear is rounded afterwards; nullopt: not at all. Readers of one step are rounded all or none (rules.h).
  std::function<std::optional<WeightSpec>(const std::string& linear)> spec_of;
  const LayerStatistics& inputs;  // of the full-precision model
  const Place& place;
};

// The readers of a mixture's norm are the gates and ups of all experts, and the router. An expert's down that saw no
// token gets no scales, and a note. Throws Error{kNumeric} where inputs are not finite.
RescaledLayer RescaleWithSmoothQuant(const SmoothLayerJob& job, const LayerWeights& weights);

}  // namespace lowbit
