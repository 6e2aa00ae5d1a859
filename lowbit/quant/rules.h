// SPDX-License-Identifier: Apache-2.0
// Whether the rules of a recipe fit a model.
#pragma once

#include "lowbit/model/layout.h"
#include "lowbit/quant/spec.h"

namespace lowbit {

// Throws Error{kUsage} naming the recipe and the rule: for layers and tensors that the model has not, for two rules
// of one rank that cover the same linear, for a rule that changes nothing, where nothing is left to round, and
// where AWQ would have to scale what readers of one input share although they are rounded unlike each other.
void RequireRules(const Recipe& recipe, const ModelLayout& layout);

}  // namespace lowbit
