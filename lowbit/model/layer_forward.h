// SPDX-License-Identifier: Apache-2.0
// One decoder layer: norm, attention, residual, norm, gated MLP, residual. Source: docs/models.md.
#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>

#include "lowbit/kernels/backend.h"
#include "lowbit/model/layer_source.h"

namespace lowbit {

// A layer's weights in the layout its backend multiplies. Made once per job, dropped before the next layer.
class PreparedLayer {
 public:
  PreparedLayer(const LayerWeights& weights, const Backend& backend);

  // x[rows, hidden] = layer(x), for whole sequences. Rows outside `sequences` are not touched.
  // Sequences are taken in groups of up to kRowsPerGroup rows, so that scratch memory is bounded.
  void Run(const ModelConfig& config, const RopeTable& rope, std::span<const SequenceRows> sequences,
           MatView<float> x) const;

 private:
  struct Linear {
    std::unique_ptr<Prepared> weight;
    std::vector<float> bias;
  };
  struct Scratch;
  void RunGroup(const ModelConfig& config, const RopeTable& rope, std::span<const SequenceRows> sequences,
                MatView<float> x, Scratch& scratch) const;
  void Multiply(std::string_view linear, MatView<const float> x, MatView<float> y) const;
  void NormHeads(std::string_view norm, const ModelConfig& config, MatView<float> x) const;

  const Backend& backend_;
  std::map<std::string, Linear, std::less<>> linears_;
  std::map<std::string, std::vector<float>, std::less<>> norms_;
};

inline constexpr size_t kRowsPerGroup = 4096;

}  // namespace lowbit
