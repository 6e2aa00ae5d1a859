// SPDX-License-Identifier: Apache-2.0
// Rotary position embedding: frequencies and tables.
#pragma once

#include <vector>

#include "lowbit/kernels/backend.h"
#include "lowbit/model/config.h"

namespace lowbit {

// Frequency of each pair, [head_dim / 2]: theta^(-2i / head_dim), with the llama3 scaling where the config
// asks for it. Source: docs/models.md.
std::vector<float> RopeFrequencies(const ModelConfig& config);

// Tables for positions 0 .. positions-1. Angles and their cosines are f32: a rounded angle at position 2047
// would be wrong by radians.
RopeTable MakeRopeTable(const ModelConfig& config, size_t positions);

}  // namespace lowbit
