// SPDX-License-Identifier: Apache-2.0
// What quantizing takes, in memory and time: PlanQuantize of layer_stream.h, and what it is made of.
#pragma once

#include "lowbit/quant/layer_stream.h"

namespace lowbit {

// Bytes of the statistics that a method learns of one step of this width, with what it makes of them.
uint64_t StatisticsBytes(size_t width);

}  // namespace lowbit
