// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/rope.h"

#include <cmath>
#include <numbers>

namespace lowbit {
namespace {

double ScaleAsLlama3(double frequency, const RopeScaling& s) {
  const double context = static_cast<double>(s.original_max_position_embeddings);
  const double wavelength = 2 * std::numbers::pi / frequency;
  if (wavelength < context / s.high_freq_factor) return frequency;
  if (wavelength > context / s.low_freq_factor) return frequency / s.factor;
  const double smooth = (context / wavelength - s.low_freq_factor) / (s.high_freq_factor - s.low_freq_factor);
  return (1 - smooth) * frequency / s.factor + smooth * frequency;
}

}  // namespace

std::vector<float> RopeFrequencies(const ModelConfig& config) {
  std::vector<float> frequencies(config.head_dim / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    double f =
        std::pow(config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (config.rope_scaling) f = ScaleAsLlama3(f, *config.rope_scaling);
    frequencies[i] = static_cast<float>(f);
  }
  return frequencies;
}

RopeTable MakeRopeTable(const ModelConfig& config, size_t positions) {
  const std::vector<float> frequencies = RopeFrequencies(config);
  RopeTable table{Matrix(positions, frequencies.size()), Matrix(positions, frequencies.size())};
  for (size_t p = 0; p < positions; ++p) {
    for (size_t i = 0; i < frequencies.size(); ++i) {
      const float angle = static_cast<float>(p) * frequencies[i];
      table.cos.view().Row(p)[i] = std::cos(angle);
      table.sin.view().Row(p)[i] = std::sin(angle);
    }
  }
  return table;
}

}  // namespace lowbit
