// SPDX-License-Identifier: Apache-2.0
// What recipes that go through the layers together hold at their fullest moment, step by step of a layer as sweep.cc
// and recipe_run.cc take it.
#pragma once

#include <cstdint>
#include <span>

#include "lowbit/calib/statistics.h"
#include "lowbit/quant/layer_stream.h"

namespace lowbit {

// What of x xᵀ the recipes' methods need of the full-precision model's inputs.
GramPart GramOf(const Recipe& recipe);

bool LearnsFromFloat(const Recipe& recipe);
bool HasOwnStream(const Recipe& recipe);

// Bytes beyond what the process holds before it begins. `in_file`: calibration rows are in a scratch file;
// `saves_statistics`: all that the full-precision model's pass can tell is collected.
uint64_t SweepBytes(const QuantizeJob& job, std::span<const Recipe* const> recipes, bool in_file,
                    bool saves_statistics);

}  // namespace lowbit
