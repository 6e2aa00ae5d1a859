// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/human.h"

#include <fmt/format.h>

#include <array>
#include <cmath>

namespace lowbit {
namespace {

// Three significant digits and a unit of powers of 1000.
std::string Scaled(double value, const std::array<const char*, 5>& units) {
  size_t unit = 0;
  while (value >= 999.5 && unit + 1 < units.size()) {
    value /= 1000;
    ++unit;
  }
  const int digits = unit == 0 || value >= 99.95 ? 0 : value >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f} {}", value, digits, units[unit]);
}

}  // namespace

std::string HumanBytes(uint64_t bytes) {
  return Scaled(static_cast<double>(bytes), {"B", "kB", "MB", "GB", "TB"});
}

std::string HumanCount(uint64_t count) {
  std::string text = Scaled(static_cast<double>(count), {"", "k", "M", "B", "T"});
  if (text.ends_with(' ')) text.pop_back();
  return text;
}

std::string HumanSeconds(double seconds) {
  if (seconds < 9.95) return fmt::format("{:.2g} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace lowbit
