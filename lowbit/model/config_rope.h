// SPDX-License-Identifier: Apache-2.0
// The rotary embedding's keys of config.json, in both styles. Used by config.cc only.
#pragma once

#include "lowbit/model/config.h"
#include "lowbit/model/config_fields.h"

namespace lowbit {

struct RopeConfig {
  double theta = 0;
  std::optional<RopeScaling> scaling;
};

// From rope_theta and rope_scaling (transformers 4) or rope_parameters (5); what is said twice must agree.
// Throws Error{kContent} naming the key; types other than "default" and "llama3" are refused by name.
RopeConfig ParseRope(const Fields& config);

}  // namespace lowbit
