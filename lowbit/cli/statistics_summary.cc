// SPDX-License-Identifier: Apache-2.0
#include "lowbit/cli/statistics_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <numeric>

namespace lowbit {
namespace {

// Length of the run of digits, or of other characters, that `text` begins with.
size_t RunLength(std::string_view text) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  size_t n = 1;
  while (n < text.size() && is_digit(text[n]) == is_digit(text[0])) ++n;
  return n;
}

// Numbers in names by their value: of two runs of digits without leading zeros the longer is the larger.
bool NaturalLess(std::string_view a, std::string_view b) {
  while (!a.empty() && !b.empty()) {
    const std::string_view x = a.substr(0, RunLength(a)), y = b.substr(0, RunLength(b));
    if (x != y) {
      const bool numbers = std::isdigit(static_cast<unsigned char>(x[0])) != 0 &&
                           std::isdigit(static_cast<unsigned char>(y[0])) != 0;
      return numbers && x.size() != y.size() ? x.size() < y.size() : x < y;
    }
    a.remove_prefix(x.size());
    b.remove_prefix(y.size());
  }
  return a.size() < b.size();
}

double Median(std::vector<float> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return static_cast<double>(*middle);
  const float below = *std::max_element(values.begin(), middle);
  return (static_cast<double>(below) + static_cast<double>(*middle)) / 2;
}

TapSummary Summarize(const std::string& name, const InputStatistics& tap) {
  TapSummary summary;
  summary.name = name;
  summary.width = tap.width;
  summary.tokens = tap.tokens;
  summary.sample_rows = tap.samples.rows().rows;
  if (tap.width == 0) return summary;
  summary.max_abs = static_cast<double>(*std::max_element(tap.max_abs.begin(), tap.max_abs.end()));
  const std::vector<double> mean = tap.mean_abs();
  summary.mean_abs = std::accumulate(mean.begin(), mean.end(), 0.0) / static_cast<double>(tap.width);
  if (const double median = Median(tap.max_abs); median > 0) summary.channel_ratio = summary.max_abs / median;
  summary.dead_channels = static_cast<size_t>(std::count(tap.max_abs.begin(), tap.max_abs.end(), 0.0f));
  return summary;
}

}  // namespace

std::vector<TapSummary> Summarize(const ModelStatistics& statistics) {
  std::vector<TapSummary> taps;
  for (const auto& [name, tap] : statistics.taps) taps.push_back(Summarize(name, tap));
  std::sort(taps.begin(), taps.end(),
            [](const TapSummary& a, const TapSummary& b) { return NaturalLess(a.name, b.name); });
  return taps;
}

Json StatisticsToJson(const std::string& path, const ModelStatistics& statistics) {
  const StatisticsOrigin& origin = statistics.origin;
  Json taps = Json::array(), experts = Json::object();
  for (const TapSummary& tap : Summarize(statistics)) {
    taps.push_back({{"name", tap.name},
                    {"width", tap.width},
                    {"tokens", tap.tokens},
                    {"max_abs", tap.max_abs},
                    {"mean_abs", tap.mean_abs},
                    {"channel_ratio", tap.channel_ratio ? Json(*tap.channel_ratio) : Json(nullptr)},
                    {"dead_channels", tap.dead_channels},
                    {"sample_rows", tap.sample_rows}});
  }
  for (const auto& [layer, counts] : statistics.expert_tokens) experts[layer] = counts;
  return {{"statistics", path},
          {"calibration_sha256", origin.calibration},
          {"weights_sha256", origin.weights},
          {"code_version", origin.code_version},
          {"tokens", origin.tokens},
          {"taps", taps},
          {"expert_tokens", experts}};
}

std::string StatisticsToText(const std::string& path, const ModelStatistics& statistics) {
  const StatisticsOrigin& origin = statistics.origin;
  const std::vector<TapSummary> taps = Summarize(statistics);
  std::string text = fmt::format("calibration statistics {}\n", Printable(path, 5000));
  const auto line = [&](std::string_view label, const std::string& value) {
    text += fmt::format("  {:<12} {}\n", label, value);
  };
  line("tokens", fmt::format("{}, calibration set {}", origin.tokens, origin.calibration));
  line("weights", origin.weights);
  line("made by", "lowbit " + Printable(origin.code_version));

  size_t name_width = 3;
  for (const TapSummary& tap : taps) name_width = std::max(name_width, Printable(tap.name).size());
  text += fmt::format("\n{:<{}} {:>7} {:>10} {:>10} {:>10} {:>10} {:>6}\n", "tap", name_width, "width",
                      "tokens", "max |x|", "mean |x|", "max/median", "dead");
  for (const TapSummary& tap : taps) {
    const std::string ratio = tap.channel_ratio ? fmt::format("{:.4g}", *tap.channel_ratio) : "-";
    text +=
        fmt::format("{:<{}} {:>7} {:>10} {:>10.4g} {:>10.4g} {:>10} {:>6}\n", Printable(tap.name), name_width,
                    tap.width, tap.tokens, tap.max_abs, tap.mean_abs, ratio, tap.dead_channels);
  }
  for (const auto& [layer, counts] : statistics.expert_tokens) {
    const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
    text += fmt::format("\n{} {} experts, {} to {} tokens each, {} with none", Printable(layer),
                        counts.size(), *least, *most, std::count(counts.begin(), counts.end(), 0u));
  }
  if (!statistics.expert_tokens.empty()) text += "\n";
  return text;
}

}  // namespace lowbit
