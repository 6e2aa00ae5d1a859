// SPDX-License-Identifier: Apache-2.0
// The seam between the driver and the methods.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/base/threads.h"
#include "lowbit/model/layout.h"
#include "lowbit/quant/spec.h"
#include "lowbit/tensor/packed.h"

namespace lowbit {

struct MethodInfo {
  std::string_view name;         // as in a recipe
  std::string_view description;  // one line for --help
  std::string_view source;       // paper or reference
  int min_bits = 1, max_bits = 8;
  bool needs_calibration = false;
};

// Some rows of one linear: a row's codes depend on that row alone, so a matrix comes in pieces.
struct RoundJob {
  MatView<const float> weights;  // rows [first_row, first_row + weights.rows) of [out, in], finite
  size_t first_row = 0;
  const std::string& name;    // full name of the tensor, for errors
  const std::string& source;  // the checkpoint it comes from, for errors
  const WeightSpec& spec;
  const Threads& threads;
};

// A quantization method: a pure function of weights, statistics and spec.
// Const and stateless: the driver may call it from any thread.
class Method {
 public:
  virtual ~Method() = default;
  virtual MethodInfo Info() const = 0;
  // Fills the job's rows of `packed`, which MakePacked made from the same spec. Throws Error{kNumeric} naming
  // the tensor when a number does not fit; never falls back silently.
  virtual void Round(const RoundJob& job, PackedTensor& packed) const = 0;
};

std::span<const Method* const> Methods();
const Method* FindMethod(std::string_view name);  // nullptr when there is none

}  // namespace lowbit
