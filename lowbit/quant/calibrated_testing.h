// SPDX-License-Identifier: Apache-2.0
// For tests of recipes that learn from calibration tokens.
#pragma once

#include <fmt/format.h>

#include <random>
#include <string>

#include "lowbit/calib/calibration_set.h"

namespace lowbit {

inline std::string TinyModel(std::string_view name) {
  return fmt::format("{}/models/{}", LOWBIT_TESTDATA, name);
}

inline CalibrationSet SomeTokens(size_t samples = 6, size_t length = 48) {
  CalibrationSet set;
  set.spec.samples = samples;
  set.spec.length = length;
  set.hash = std::string(64, 'c');
  set.held_out_hash = std::string(64, 'e');
  std::mt19937 random(7);
  const auto sequence = [&] {
    TokenIds ids;
    for (size_t t = 0; t < length; ++t) ids.push_back(static_cast<int32_t>(random() % 512));
    return ids;
  };
  for (size_t s = 0; s < samples; ++s) set.sequences.push_back(sequence());
  for (size_t s = 0; s < 2; ++s) set.held_out.push_back(sequence());
  return set;
}

}  // namespace lowbit
