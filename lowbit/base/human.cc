// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/human.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cmath>

#include "lowbit/base/error.h"

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

uint64_t ParseBytes(std::string_view text) {
  struct Unit {
    std::string_view name;
    double bytes;
  };
  static constexpr std::array kUnits = {
      Unit{"", 1},         Unit{"b", 1},        Unit{"k", 1e3},     Unit{"kb", 1e3},     Unit{"m", 1e6},
      Unit{"mb", 1e6},     Unit{"g", 1e9},      Unit{"gb", 1e9},    Unit{"t", 1e12},     Unit{"tb", 1e12},
      Unit{"ki", 0x1p10},  Unit{"kib", 0x1p10}, Unit{"mi", 0x1p20}, Unit{"mib", 0x1p20}, Unit{"gi", 0x1p30},
      Unit{"gib", 0x1p30}, Unit{"ti", 0x1p40},  Unit{"tib", 0x1p40}};
  double number = 0;
  const auto [end, error] =
      std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  std::string unit;
  for (const char c : text.substr(static_cast<size_t>(end - text.data()))) {
    if (c != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  const auto* row = std::ranges::find(kUnits, unit, &Unit::name);
  if (error == std::errc() && row != kUnits.end() && number > 0 && number * row->bytes < 0x1p60) {
    return static_cast<uint64_t>(number * row->bytes);
  }
  throw Error(ErrorKind::kUsage,
              fmt::format("'{}' is no size, expected one like 4GB or 1500MiB", Printable(text, 40)));
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
