// SPDX-License-Identifier: Apache-2.0
// Room quant: methods that turn weights into packed tensors, and the driver that runs them over a model.
// In:  a recipe, a model's weights (later: statistics).   Out: an artefact of packed layers.
// Non-goals: forward passes (model), scores (eval), what an engine reads (export).
// Start reading here (what a recipe says), then method.h (the seam), methods.cc (the table), layer_stream.h.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/tensor/dtype.h"

namespace lowbit {

// How one matrix is rounded.
struct WeightSpec {
  int bits = 4;             // 1..8
  size_t group_size = 0;    // columns per group; 0 = per channel (one group per row)
  bool symmetric = false;
  DType scale_type = DType::kF16;  // scales are rounded to this before codes are chosen

  bool operator==(const WeightSpec&) const = default;
  std::string Text() const;  // "w4-g128-sym", "w3-channel"
};

// A recipe as people type it (docs/recipes.md):
//   full                          nothing is quantized
//   rtn-w4-g128                   method, bits, group size
//   rtn-w3-channel-sym            one group per row, symmetric
//   rtn-w4-g64:head=w8-g64,scale=f32     options after a colon
struct Recipe {
  std::string method;                // a row of the method table, or "full"
  WeightSpec weights;
  std::optional<WeightSpec> head;    // lm_head and embedding; nullopt = keep

  bool IsFull() const { return method == "full"; }
  std::string Text() const;          // canonical: parses back to an equal recipe
};

// Throws Error{kUsage} that quotes the part it does not understand and says what is allowed there.
Recipe ParseRecipe(std::string_view text);

}  // namespace lowbit
