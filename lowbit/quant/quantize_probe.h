// SPDX-License-Identifier: Apache-2.0
// How long quantizing will take: each kind of work is tried on a little of it and scaled.
#pragma once

#include <memory>
#include <span>

#include "lowbit/quant/layer_stream.h"

namespace lowbit {

class QuantizeProbe {
 public:
  // All must outlive this. Takes a second or so for the kinds of work the recipes need, at the first use of each.
  QuantizeProbe(const QuantizeJob& job, std::span<const Recipe> recipes);
  ~QuantizeProbe();

  double Seconds(const QuantizeLane& lane);
  // Hashing the weights, once for all lanes; 0 where the hash is known.
  double HashSeconds();

 private:
  class Work;
  std::unique_ptr<Work> work_;
};

}  // namespace lowbit
