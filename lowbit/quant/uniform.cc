// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/uniform.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "lowbit/base/error.h"

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

// Range searches shrink by 0, 1, … hundredths: GPTQ's reference by up to 79, the weighted one by up to 59.
constexpr int kPowerSteps = 80, kWeightedSteps = 60;
constexpr double kShrinkGrid = 100;

// With its largest value 1, so that sums keep to the range of f32; all 1 where none is above 0.
std::vector<float> Normalized(std::span<const float> importance, size_t n) {
  const float largest = importance.empty() ? 0 : Loops().range(importance.data(), n).hi;
  if (largest <= 0) return std::vector<float>(n, 1.0f);
  std::vector<float> h(n);
  for (size_t i = 0; i < n; ++i) h[i] = importance[i] / largest;
  return h;
}

// Σ h error²; at least `enough` once it gets there.
double WeightedError(std::span<const float> weights, std::span<const float> h, const CodeMap& map,
                     double enough) {
  const double unit = static_cast<double>(map.scale) * static_cast<double>(map.scale);
  return unit * Loops().weighted_error(weights.data(), h.data(), weights.size(), map, enough / unit);
}

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

bool HasRangeSearch(Grid grid, RangeSearch range) {
  if (range == RangeSearch::kMinMax || grid == Grid::kGptq) return true;
  return range == RangeSearch::kHdiag && grid == Grid::kAwq;
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
  LOWBIT_ASSERT(HasRangeSearch(Row(rule).grid, range));
}

UniformQuantizer::UniformQuantizer(const WeightSpec& spec)
    : UniformQuantizer(FindUniformRule(spec.grid, spec.symmetric)->rule, spec.bits, spec.scale_type,
                       spec.range) {}

GroupParams UniformQuantizer::Choose(std::span<const float> weights,
                                     std::span<const float> importance) const {
  LOWBIT_ASSERT(!weights.empty() && (importance.empty() || importance.size() == weights.size()));
  const auto [lo, hi] = Loops().range(weights.data(), weights.size());
  if (range_ == RangeSearch::kMse) return SearchPower(weights, lo, hi);
  if (range_ == RangeSearch::kHdiag)
    return SearchWeighted(weights, Normalized(importance, weights.size()), lo, hi);
  return FromExtremes(lo, hi);
}

// By the rule alone, from the smallest and the largest weight.
GroupParams UniformQuantizer::FromExtremes(float lo, float hi) const {
  const float absmax = std::max(std::abs(lo), std::abs(hi));
  const auto zero = static_cast<uint8_t>(half_);
  switch (rule_) {
    case UniformRule::kGptqAsym:
    case UniformRule::kGptqSym:
      // The range holds 0; in the symmetric case it is as wide on both sides, unless no weight is negative.
      lo = std::min(lo, 0.0f);
      hi = std::max(hi, 0.0f);
      if (rule_ == UniformRule::kGptqSym) {
        hi = std::max(-lo, hi);
        if (lo < 0) lo = -hi;
      }
      return lo == 0 && hi == 0 ? FromRange(-1, 2) : FromRange(lo, hi - lo);
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

GroupParams UniformQuantizer::FromRange(float lo, float width) const {
  GroupParams params;
  params.scale = Scale(width, last_code_);
  const float zero = Row(rule_).symmetric ? half_ : std::rint(-lo / params.scale);
  params.zero = static_cast<uint8_t>(std::clamp(zero, 0.0f, last_code_));
  return params;
}

// Keeps the first of the shrunk ranges with the smallest sum of |error|^2.4.
GroupParams UniformQuantizer::SearchPower(std::span<const float> weights, float lo, float hi) const {
  GroupParams best = FromExtremes(lo, hi);
  if (!std::isfinite(best.scale)) return best;
  double least = std::numeric_limits<double>::infinity();
  for (int step = 0; step < kPowerSteps; ++step) {
    const auto p = static_cast<float>(1 - step / kShrinkGrid);
    const GroupParams params = FromExtremes(p * lo, p * hi);
    const double error = Loops().power_error(weights.data(), weights.size(), MapOf(params), least);
    if (!(error < least)) continue;
    least = error;
    best = params;
  }
  return best;
}

// Keeps the first of the shrunk ranges with the smallest sum of h · error², and then refits its scale. An
// asymmetric range is tried with the zero points beside its own too, a symmetric one also upside down: its
// codes reach one step further on one side, and which side pays is for the weights to say.
GroupParams UniformQuantizer::SearchWeighted(std::span<const float> weights, std::span<const float> h,
                                             float lo, float hi) const {
  GroupParams best = FromExtremes(lo, hi);
  if (!std::isfinite(best.scale)) return best;
  const bool symmetric = Row(rule_).symmetric;
  double least = std::numeric_limits<double>::infinity();
  const auto judge = [&](float scale, int zero) {
    if (zero < 0 || zero > static_cast<int>(last_code_)) return;
    const GroupParams params{scale, static_cast<uint8_t>(zero)};
    const double error = WeightedError(weights, h, MapOf(params), least);
    if (!(error < least)) return;
    least = error;
    best = params;
  };
  for (int step = 0; step < kWeightedSteps; ++step) {
    const auto p = static_cast<float>(1 - step / kShrinkGrid);
    const GroupParams range = FromExtremes(p * lo, p * hi);
    judge(range.scale, range.zero);
    if (symmetric) {
      judge(-range.scale, range.zero);
    } else {
      judge(range.scale, range.zero - 1);
      judge(range.scale, range.zero + 1);
    }
  }
  return Refit(weights, h, best, least);
}

// The best scale for the codes that `params` gives; kept if it is better once codes follow from it again.
GroupParams UniformQuantizer::Refit(std::span<const float> weights, std::span<const float> h,
                                    GroupParams params, double error) const {
  const ScaleFit fit = Loops().fit_scale(weights.data(), h.data(), weights.size(), MapOf(params));
  const double scale = fit.weights / fit.levels;  // 0 / 0 when every code is the zero point
  if (!(scale * static_cast<double>(params.scale) > 0)) return params;
  const GroupParams refit{RoundScaleTo(scale_type_, static_cast<float>(scale)), params.zero};
  if (!std::isfinite(refit.scale) || refit.scale == 0) return params;
  return WeightedError(weights, h, MapOf(refit), error) < error ? refit : params;
}

CodeMap UniformQuantizer::MapOf(GroupParams params) const {
  return {params.scale, static_cast<float>(params.zero), first_code_, last_code_};
}

float UniformQuantizer::Scale(float range, float steps) const {
  const float scale = range / steps;
  // Where even f32 rounds to nothing, the smallest number is still a scale; division needs one.
  if (scale == 0) return RoundScaleTo(scale_type_, std::numeric_limits<float>::denorm_min());
  return RoundScaleTo(scale_type_, scale);
}

void UniformQuantizer::Encode(std::span<const float> weights, GroupParams params, uint8_t* codes) const {
  Loops().encode(weights.data(), weights.size(), MapOf(params), codes);
}

}  // namespace lowbit
