// SPDX-License-Identifier: Apache-2.0
// Means over windows and how far they can be trusted.
#pragma once

#include <cmath>
#include <numeric>
#include <optional>
#include <span>

namespace lowbit {

inline double Mean(std::span<const double> values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Standard error of the mean of independent values; none of a single one.
inline std::optional<double> StdErrorOfMean(std::span<const double> values) {
  if (values.size() < 2) return std::nullopt;
  const double mean = Mean(values);
  double squares = 0;
  for (const double v : values) squares += (v - mean) * (v - mean);
  const auto n = static_cast<double>(values.size());
  return std::sqrt(squares / (n - 1) / n);
}

}  // namespace lowbit
