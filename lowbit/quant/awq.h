// SPDX-License-Identifier: Apache-2.0
// AWQ's search for scales per input channel. Pure functions; the driver decides which stages are searched and
// what their outputs are. Source: llm-awq's auto_scale; formulas in docs/methods.md.
// Beside it: awq_loss.h (losses from a Gram matrix), awq_clip.h (clipping), awq_fold.h (scales into weights).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "lowbit/base/threads.h"
#include "lowbit/quant/spec.h"
#include "lowbit/tensor/buffer.h"

namespace lowbit {

// Ratios tried: 0, 1/20, … 19/20. Ratio 0 is no scaling at all, so that AWQ is never worse than rounding to
// nearest in its own loss.
inline constexpr size_t kAwqRatios = 20;
constexpr double AwqRatio(size_t step) {
  return static_cast<double>(step) / kAwqRatios;
}

// The order in which ratios are tried: 0, then 0.4 and outwards from there. What is tried first ends others early,
// and losses are smallest around the middle more often than not. Does not change what is chosen.
constexpr size_t AwqTrial(size_t i) {
  constexpr size_t kMiddle = 8;
  if (i == 0) return 0;
  if (i >= 2 * kMiddle) return i;
  return i % 2 == 1 ? kMiddle + i / 2 : kMiddle - i / 2;
}

// s = max(m^ratio, 1e-4) / sqrt(max s · min s), in f32, of m = mean|x_j| over the tokens. A channel that was
// never anything but 0 counts as 1e-4. `mean_abs` finite and >= 0, not empty.
std::vector<float> AwqScales(std::span<const float> mean_abs, double ratio);

// Averages mean|x| of attention's output over the query heads that share a key/value head, so that scales made
// from it can be undone in v_proj. `mean_abs` [heads · head_dim].
std::vector<float> TieOverQueryHeads(std::span<const float> mean_abs, size_t heads, size_t kv_heads);

// How far a stage's outputs move when its readers are replaced.
class ScaleLoss {
 public:
  virtual ~ScaleLoss() = default;

  // `readers` in the order of the search: what rounding leaves of each reader, divided by the scales again, so
  // that it reads the same inputs as the original. Mean of squares over tokens and output channels; other
  // losses must be comparable among the ratios of one search only.
  virtual double Loss(std::span<const MatView<const float>> readers) const = 0;

  // The same, or once it is known to be at least `enough` any number from there on.
  virtual double LossUpTo(std::span<const MatView<const float>> readers, double /*enough*/) const {
    return Loss(readers);
  }
};

// What one search is about.
struct AwqStage {
  std::span<const MatView<const float>> readers;  // [out, columns] each, finite
  std::span<const float> mean_abs;                // [columns]
  std::span<const float> importance = {};  // [columns], of the unscaled inputs; for range=hdiag, else unused
  // Of each reader, where they see different rows: experts. Takes the place of `importance` unless empty.
  std::span<const std::vector<float>> importance_of = {};
};

struct AwqChoice {
  size_t step = 0;
  std::vector<float> scales;  // [columns]
  std::vector<double>
      losses;  // of every ratio: of those that lost some that are too small, yet larger than the best
  double Ratio() const { return AwqRatio(step); }
};

// Q(W diag s) diag(s)⁻¹, Q as `spec` says. `rounded` has the shape of `weights`; the importance is that of the
// unscaled inputs, or empty. The same as ScaleColumns, RoundRows with the importance over s², and division.
void RoundScaled(MatView<const float> weights, std::span<const float> scales, const WeightSpec& spec,
                 std::span<const float> importance, const Place& place, const Threads& threads,
                 MatView<float> rounded);

// The first ratio with the smallest loss. Needs as much memory as the readers in f32. Throws Error{kNumeric} at
// `place` when a scale does not fit its type or a loss is not finite.
AwqChoice SearchScales(const AwqStage& stage, const WeightSpec& spec, const ScaleLoss& loss,
                       const Place& place, const Threads& threads);

}  // namespace lowbit
