// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/uniform.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "lowbit/base/error.h"
#include "lowbit/quant/row_loops.h"

namespace lowbit {
namespace {

constexpr std::array kRules = {
    UniformRuleRow{UniformRule::kGptqAsym, "gptq_asym", Grid::kGptq, false, 1, "GPTQ and its descendants"},
    UniformRuleRow{UniformRule::kGptqSym, "gptq_sym", Grid::kGptq, true, 1, "GPTQ with sym=True, GPTQModel"},
    UniformRuleRow{UniformRule::kAwqAsym, "awq_asym", Grid::kAwq, false, 1,
                   "llm-awq, AutoAWQ, LightCompress"},
    UniformRuleRow{UniformRule::kAwqSym, "awq_sym", Grid::kAwq, true, 2, "AutoAWQ, LightCompress"},
    UniformRuleRow{UniformRule::kAbsmax, "absmax", Grid::kAbsmax, true, 2, "SmoothQuant"},
    UniformRuleRow{UniformRule::kRotSym, "rot_sym", Grid::kRot, true, 2, "QuaRot, SpinQuant, GPTAQ"},
    UniformRuleRow{UniformRule::kFullSym, "full_sym", Grid::kFull, true, 1, "auto-round"},
};

// Ranges below this count as this wide, where the reference does so.
constexpr float kLeastRange = 1e-5f;

// The range search of GPTQ's reference: shrink by 0, 1, … 79 hundredths.
constexpr int kShrinkSteps = 80;
constexpr double kShrinkGrid = 100;

}  // namespace

std::span<const UniformRuleRow> UniformRules() {
  return kRules;
}
const UniformRuleRow& Row(UniformRule rule) {
  return kRules[static_cast<size_t>(rule)];
}

const UniformRuleRow* FindUniformRule(Grid grid, bool symmetric) {
  for (const UniformRuleRow& row : kRules) {
    if (row.grid == grid && row.symmetric == symmetric) return &row;
  }
  return nullptr;
}

float RoundTo(DType type, float value) {
  return type == DType::kF16 ? ToFloat(ToF16(value)) : value;
}

float RoundScaleTo(DType type, float scale) {
  const float rounded = RoundTo(type, scale);
  if (rounded != 0 || scale == 0) return rounded;
  return std::copysign(0x1p-24f, scale);  // only F16 can lose a non-zero value
}

UniformQuantizer::UniformQuantizer(UniformRule rule, int bits, DType scale_type, RangeSearch range)
    : rule_(rule),
      scale_type_(scale_type),
      range_(range),
      first_code_(rule == UniformRule::kAbsmax ? 1.0f : 0.0f),  // -2^(bits-1) is not used
      last_code_(static_cast<float>((1 << bits) - 1)),
      half_(static_cast<float>(1 << (bits - 1))) {
  LOWBIT_ASSERT(bits >= Row(rule).min_bits && bits <= 8);
  LOWBIT_ASSERT(range == RangeSearch::kMinMax || Row(rule).grid == Grid::kGptq);
}

UniformQuantizer::UniformQuantizer(const WeightSpec& spec)
    : UniformQuantizer(FindUniformRule(spec.grid, spec.symmetric)->rule, spec.bits, spec.scale_type,
                       spec.range) {}

GroupParams UniformQuantizer::Choose(std::span<const float> weights,
                                     [[maybe_unused]] std::span<const float> importance) const {
  LOWBIT_ASSERT(!weights.empty());
  LOWBIT_ASSERT(importance.empty() || importance.size() == weights.size());
  const auto [lo, hi] = Loops().range(weights.data(), weights.size());
  const float absmax = std::max(std::abs(lo), std::abs(hi));
  const auto zero = static_cast<uint8_t>(half_);
  switch (rule_) {
    case UniformRule::kGptqAsym:
    case UniformRule::kGptqSym:
      return ChooseGptq(weights, lo, hi);
    case UniformRule::kAwqAsym:
      return FromRange(lo, std::max(hi - lo, kLeastRange));
    case UniformRule::kAwqSym:
    case UniformRule::kAbsmax:
    case UniformRule::kRotSym:
      return {Scale(std::max(absmax, kLeastRange), half_ - 1), zero};
    case UniformRule::kFullSym:
      break;
  }
  if (absmax == 0) return {1, zero};
  const float extreme = -lo > hi ? lo : hi;  // of two equal ones the positive
  return {Scale(-extreme, half_), zero};
}

// The range of GPTQ holds 0; in the symmetric case it is as wide on both sides, unless no weight is negative.
GroupParams UniformQuantizer::ChooseGptq(std::span<const float> weights, float lo, float hi) const {
  lo = std::min(lo, 0.0f);
  hi = std::max(hi, 0.0f);
  if (rule_ == UniformRule::kGptqSym) {
    hi = std::max(-lo, hi);
    if (lo < 0) lo = -hi;
  }
  if (lo == 0 && hi == 0) return FromRange(-1, 2);
  return range_ == RangeSearch::kMse ? SearchRange(weights, lo, hi) : FromRange(lo, hi - lo);
}

GroupParams UniformQuantizer::FromRange(float lo, float width) const {
  GroupParams params;
  params.scale = Scale(width, last_code_);
  const float zero = Row(rule_).symmetric ? half_ : std::rint(-lo / params.scale);
  params.zero = static_cast<uint8_t>(std::clamp(zero, 0.0f, last_code_));
  return params;
}

// Keeps the first of the shrunk ranges with the smallest sum of |error|^2.4.
GroupParams UniformQuantizer::SearchRange(std::span<const float> weights, float lo, float hi) const {
  GroupParams best = FromRange(lo, hi - lo);
  if (!std::isfinite(best.scale)) return best;
  double least = std::numeric_limits<double>::infinity();
  for (int step = 0; step < kShrinkSteps; ++step) {
    const auto p = static_cast<float>(1 - step / kShrinkGrid);
    const GroupParams params = FromRange(p * lo, p * hi - p * lo);
    const CodeMap map{params.scale, static_cast<float>(params.zero), first_code_, last_code_};
    const double error = Loops().power_error(weights.data(), weights.size(), map, least);
    if (!(error < least)) continue;
    least = error;
    best = params;
  }
  return best;
}

float UniformQuantizer::Scale(float range, float steps) const {
  const float scale = range / steps;
  // Where even f32 rounds to nothing, the smallest number is still a scale; division needs one.
  if (scale == 0) return RoundScaleTo(scale_type_, std::numeric_limits<float>::denorm_min());
  return RoundScaleTo(scale_type_, scale);
}

void UniformQuantizer::Encode(std::span<const float> weights, GroupParams params, uint8_t* codes) const {
  const CodeMap map{params.scale, static_cast<float>(params.zero), first_code_, last_code_};
  Loops().encode(weights.data(), weights.size(), map, codes);
}

}  // namespace lowbit
