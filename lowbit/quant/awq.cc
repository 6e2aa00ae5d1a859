// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/awq.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

constexpr float kLeastScale = 1e-4f;

// What an error of a scaled weight costs: its input is x / s.
std::vector<float> ScaledImportance(std::span<const float> importance, std::span<const float> scales) {
  std::vector<float> scaled(importance.begin(), importance.end());
  for (size_t j = 0; j < scaled.size(); ++j) scaled[j] = scaled[j] / scales[j] / scales[j];
  return scaled;
}

}  // namespace

std::vector<float> AwqScales(std::span<const float> mean_abs, double ratio) {
  LOWBIT_ASSERT(!mean_abs.empty());
  std::vector<float> scales(mean_abs.size());
  for (size_t j = 0; j < scales.size(); ++j) {
    // In double, and rounded once: libraries differ in the last bit of an f32 power.
    const double power = std::pow(static_cast<double>(mean_abs[j]), ratio);
    scales[j] = std::max(static_cast<float>(power), kLeastScale);
  }
  const auto [least, largest] = std::minmax_element(scales.begin(), scales.end());
  const float centre = std::sqrt(*largest * *least);
  for (float& s : scales) s /= centre;
  return scales;
}

std::vector<float> TieOverQueryHeads(std::span<const float> mean_abs, size_t heads, size_t kv_heads) {
  LOWBIT_ASSERT(kv_heads > 0 && heads % kv_heads == 0 && mean_abs.size() % heads == 0);
  const size_t head_dim = mean_abs.size() / heads, shared = heads / kv_heads;
  std::vector<float> tied(mean_abs.size());
  for (size_t kv = 0; kv < kv_heads; ++kv) {
    const size_t first = kv * shared * head_dim;
    for (size_t i = 0; i < head_dim; ++i) {
      double sum = 0;
      for (size_t h = 0; h < shared; ++h) sum += static_cast<double>(mean_abs[first + h * head_dim + i]);
      const auto mean = static_cast<float>(sum / static_cast<double>(shared));
      for (size_t h = 0; h < shared; ++h) tied[first + h * head_dim + i] = mean;
    }
  }
  return tied;
}

void RoundScaled(MatView<const float> weights, std::span<const float> scales, const WeightSpec& spec,
                 std::span<const float> importance, const Place& place, const Threads& threads,
                 MatView<float> rounded) {
  LOWBIT_ASSERT(weights.rows == rounded.rows && weights.cols == rounded.cols);
  LOWBIT_ASSERT(scales.size() == weights.cols);
  threads.For(weights.rows, [&](size_t r) {
    const float* w = weights.Row(r);
    float* scaled = rounded.Row(r);
    for (size_t j = 0; j < scales.size(); ++j) scaled[j] = w[j] * scales[j];
  });
  const std::vector<float> h = ScaledImportance(importance, scales);
  const size_t rotation = spec.InputFor(weights.cols).rotation;
  const auto rotate = [&] {
    if (rotation == 0) return;
    threads.For(weights.rows, [&](size_t r) { RotateRow(rounded.RowSpan(r), rotation); });
  };
  rotate();
  RoundToValues(rounded, spec, 0, place, threads, rounded, h);
  rotate();  // back
  threads.For(weights.rows, [&](size_t r) {
    float* row = rounded.Row(r);
    for (size_t j = 0; j < scales.size(); ++j) row[j] /= scales[j];
  });
}

AwqChoice SearchScales(const AwqStage& stage, const WeightSpec& spec, const ScaleLoss& loss,
                       const Place& place, const Threads& threads) {
  std::vector<Matrix> rounded;
  for (const MatView<const float>& reader : stage.readers) rounded.emplace_back(reader.rows, reader.cols);
  const std::vector<MatView<const float>> views = [&] {
    std::vector<MatView<const float>> all;
    for (const Matrix& m : rounded) all.push_back(m.view());
    return all;
  }();

  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  AwqChoice choice{.step = 0, .scales = {}, .losses = std::vector<double>(kAwqRatios)};
  double least = kInfinity;
  for (size_t i = 0; i < kAwqRatios; ++i) {
    const size_t step = AwqTrial(i);
    std::vector<float> scales = AwqScales(stage.mean_abs, AwqRatio(step));
    for (size_t r = 0; r < stage.readers.size(); ++r) {
      const std::span<const float> importance =
          stage.importance_of.empty() ? stage.importance : stage.importance_of[r];
      RoundScaled(stage.readers[r], scales, spec, importance, place, threads, rounded[r].view());
    }
    // The first of equal losses wins, whichever was tried before.
    const double enough = step < choice.step ? std::nextafter(least, kInfinity) : least;
    const double value = loss.LossUpTo(views, enough);
    if (!std::isfinite(value)) {
      throw Error(ErrorKind::kNumeric, place,
                  fmt::format("the loss of scales with ratio {:.2f} is {}, expected a finite number",
                              AwqRatio(step), value));
    }
    choice.losses[step] = value;
    if (!(value < enough)) continue;
    least = value;
    choice.step = step;
    choice.scales = std::move(scales);
  }
  return choice;
}

}  // namespace lowbit
