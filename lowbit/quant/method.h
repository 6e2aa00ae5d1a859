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

// One stage of one layer: linears that share an input, with their weights.
struct StageJob {
  const Stage& stage;
  std::span<const LinearSpec> linears;            // the stage's readers
  std::span<const MatView<const float>> weights;  // [out, in] each, finite
  std::span<const std::string> names;             // full tensor names, for errors
  const std::string& source;                      // the checkpoint they come from, for errors
  const WeightSpec& spec;
  const Threads& threads;
};

// A quantization method: a pure function of weights, statistics and spec.
// Const and stateless: the driver may call it from any thread.
class Method {
 public:
  virtual ~Method() = default;
  virtual MethodInfo Info() const = 0;
  // Packs every linear of the stage, in order. Throws Error{kNumeric} naming the tensor when a number does
  // not fit; never falls back silently.
  virtual std::vector<PackedTensor> Round(const StageJob& job) const = 0;
};

std::span<const Method* const> Methods();
const Method* FindMethod(std::string_view name);  // nullptr when there is none

}  // namespace lowbit
