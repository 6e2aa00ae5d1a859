// SPDX-License-Identifier: Apache-2.0
// What to do with the keys of config.json that ModelConfig has no field for. Used by config.cc only.
#pragma once

#include "lowbit/model/config_fields.h"

namespace lowbit {

// Throws Error{kContent} naming the first key that changes the numbers, or asks for code, in a way that
// lowbit does not support: quantized weights, other attention patterns, extra scales. A key of that kind with
// the value that changes nothing (a factor of 1, false, null) is accepted. Keys that lowbit knows nothing
// about are reported by one warning.
// `has_experts`: the family is a mixture of experts, whose keys config.cc reads.
void CheckOtherKeys(const Fields& config, bool has_experts);

}  // namespace lowbit
