// SPDX-License-Identifier: Apache-2.0
// What a quantized layer does to rows that no method learned from (docs/calibration.md), as layer files and lowbit.json
// keep it.
#pragma once

#include <map>
#include <string>

#include "lowbit/base/json.h"
#include "lowbit/checkpoint/json_fields.h"

namespace lowbit {

// What a linear reads where its inputs are rounded, as it reads it: after smoothing and rotation.
struct InputRange {
  double largest = 0;  // |x| over all rows
  // Mean over rows of max|x| over the root mean square of x: what the integers of a row have to span. 3 to 4 in noise;
  // rows of zeros do not count.
  double peak = 0;

  bool operator==(const InputRange&) const = default;
};
using InputRanges = std::map<std::string, InputRange>;  // by linear

// How far a layer's outputs are from the full-precision layer's, both given what the full-precision model gives it,
// on rows that no method learned from. Errors of earlier layers are not in it.
struct OutputErrors {
  std::string rows;  // which ones: their hash and how they were computed
  // Of a linear, by its name in the layer: ‖X (W - Ŵ)ᵀ‖² / ‖X Wᵀ‖², Frobenius norms; experts' together, those that
  // saw any of the rows ("mlp.experts.up_proj"). Where what it reads is rounded, under its name and kOfInputs what that
  // alone does: ‖(X - X̂) Wᵀ‖² / ‖X Wᵀ‖². Under kWholeLayer ‖y - ŷ‖² / ‖y - x‖² of the layer's output.
  // Absent where the denominator is 0.
  std::map<std::string, double> relative;
  InputRanges inputs = {};  // of the linears whose inputs are rounded, by the same names

  bool operator==(const OutputErrors&) const = default;
};
inline constexpr std::string_view kWholeLayer = "layer";
inline constexpr std::string_view kOfInputs = " inputs";

// {"mlp.down_proj": {"largest": 7.5, "peak": 12.25}, …}
Json ToJson(const InputRanges& ranges);
InputRanges ReadInputRanges(JsonFields& fields, std::string_view key);

// {"rows": …, "relative": {…}}, and "inputs" where there are any. Parsing throws Error{kContent} naming the key.
std::string ToText(const OutputErrors& errors);
OutputErrors ParseOutputErrors(const std::string& text, const Place& place);

}  // namespace lowbit
