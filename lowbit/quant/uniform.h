// SPDX-License-Identifier: Apache-2.0
// Uniform quantizers: how the scale and zero point of one group follow from its weights, and the codes.
// All arithmetic is f32, rounding is half to even, and weights are divided by the scale: multiplying by its
// inverse moves the quotient by an ulp and flips ties. Source of the formulas: docs/methods.md.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "lowbit/quant/row_loops.h"
#include "lowbit/quant/spec.h"

namespace lowbit {

enum class UniformRule : uint8_t { kGptqAsym, kGptqSym, kAwqAsym, kAwqSym, kAbsmax, kRotSym, kFullSym };

struct UniformRuleRow {
  UniformRule rule;
  std::string_view name;  // "gptq_asym"
  Grid grid;              // what a recipe calls it, with -sym or without
  bool symmetric;
  int min_bits;              // fewer would divide by zero
  std::string_view used_by;  // who else quantizes this way
};
std::span<const UniformRuleRow> UniformRules();
const UniformRuleRow& Row(UniformRule rule);
const UniformRuleRow* FindUniformRule(Grid grid, bool symmetric);  // nullptr when there is none

// kMse is GPTQ's own and for its grid; kHdiag is for the grids that GPTQ and AWQ end with.
bool HasRangeSearch(Grid grid, RangeSearch range);

// Of one group. A weight is scale * (code - zero), code in 0 .. 2^bits - 1; signed grids are stored with
// zero = 2^(bits-1). `scale` is exact in the quantizer's scale type, not zero, and negative only for
// kFullSym and where kHdiag found a symmetric grid to fit better upside down.
struct GroupParams {
  float scale = 1;
  uint8_t zero = 0;
};

class UniformQuantizer {
 public:
  // Not every rule has every search: see HasRangeSearch.
  UniformQuantizer(UniformRule rule, int bits, DType scale_type, RangeSearch range = RangeSearch::kMinMax);
  explicit UniformQuantizer(const WeightSpec& spec);

  // Parameters for the finite weights of one group, which is not empty. A scale that does not fit the scale
  // type comes back as infinity: the caller knows the tensor's name and throws.
  // `importance` is for kHdiag: what a squared error of each weight costs, >= 0 and finite, the Gram matrix's
  // diagonal at its column. Only ratios matter. Empty, or 0 everywhere (inputs that were never anything but
  // 0): all weights count the same.
  GroupParams Choose(std::span<const float> weights, std::span<const float> importance = {}) const;

  // codes[i] for weights[i], clamped to the rule's range.
  void Encode(std::span<const float> weights, GroupParams params, uint8_t* codes) const;

  // The rule's range of codes, as stored.
  float first_code() const { return first_code_; }
  float last_code() const { return last_code_; }

 private:
  GroupParams FromExtremes(float lo, float hi) const;
  GroupParams FromRange(float lo, float width) const;
  GroupParams SearchPower(std::span<const float> weights, float lo, float hi) const;
  GroupParams SearchWeighted(std::span<const float> weights, std::span<const float> h, float lo,
                             float hi) const;
  GroupParams Refit(std::span<const float> weights, std::span<const float> h, GroupParams params,
                    double error) const;
  CodeMap MapOf(GroupParams params) const;
  float Scale(float range, float steps) const;

  UniformRule rule_;
  DType scale_type_;
  RangeSearch range_;
  float first_code_, last_code_;  // of the rule's range, as stored
  float half_;                    // 2^(bits-1), zero point of signed grids
};

// `value` as it is stored in `type`, F16 or F32. Infinite when it is too large for it.
float RoundTo(DType type, float value);
// The same for a scale, which must not vanish: instead of 0 it becomes the smallest number of its type.
float RoundScaleTo(DType type, float scale);

}  // namespace lowbit
