// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/config_rope.h"

#include <algorithm>
#include <array>

namespace lowbit {
namespace {

constexpr std::array<std::string_view, 4> kScalingKeys = {"factor", "low_freq_factor", "high_freq_factor",
                                                          "original_max_position_embeddings"};
constexpr size_t kMaxPositions = size_t{1} << 30;

std::string RopeType(const Fields& rope) {
  const std::optional<std::string> type = rope.OptionalText("rope_type"),
                                   old_type = rope.OptionalText("type");
  if (type.has_value() && old_type.has_value() && *type != *old_type) {
    rope.Refuse("type", fmt::format("'{}', but rope_type is '{}'; expected one type",
                                    Printable(*old_type, 40), Printable(*type, 40)));
  }
  if (type.has_value()) return *type;
  if (old_type.has_value()) return *old_type;
  const bool has_scaling =
      std::ranges::any_of(kScalingKeys, [&](auto key) { return rope.Find(key) != nullptr; });
  if (has_scaling) rope.RefuseMissing("rope_type", "'default' or 'llama3'");
  return "default";
}

RopeScaling ParseLlama3(const Fields& rope) {
  RopeScaling scaling;
  scaling.factor = rope.Number("factor", 1, 1e6);
  scaling.low_freq_factor = rope.Number("low_freq_factor", 1e-6, 1e6);
  scaling.high_freq_factor = rope.Number("high_freq_factor", 1e-6, 1e6);
  scaling.original_max_position_embeddings = rope.Size("original_max_position_embeddings", kMaxPositions);
  if (scaling.high_freq_factor <= scaling.low_freq_factor) {
    rope.Refuse("high_freq_factor", fmt::format("{}, expected more than low_freq_factor, which is {}",
                                                scaling.high_freq_factor, scaling.low_freq_factor));
  }
  return scaling;
}

// Every key changes the angles; one that we do not know would be a silent mistake.
void RefuseOtherKeys(const Fields& rope, const std::string& type) {
  for (const auto& [key, value] : rope.object().items()) {
    if (value.is_null() || key == "rope_type" || key == "type" || key == "rope_theta") continue;
    if (key == "partial_rotary_factor" && value.is_number() && value == 1.0) continue;
    if (type == "llama3" && std::ranges::find(kScalingKeys, key) != kScalingKeys.end()) continue;
    rope.Refuse(key, fmt::format("not supported with rope_type '{}'", type));
  }
}

std::optional<RopeScaling> ParseScaling(const Fields& rope) {
  const std::string type = RopeType(rope);
  if (type != "default" && type != "llama3") {
    rope.Refuse(rope.Find("rope_type") != nullptr ? "rope_type" : "type",
                fmt::format("'{}' is not supported, expected 'default' or 'llama3'", Printable(type, 40)));
  }
  RefuseOtherKeys(rope, type);
  if (type == "default") return std::nullopt;
  return ParseLlama3(rope);
}

}  // namespace

RopeConfig ParseRope(const Fields& config) {
  constexpr double kMinTheta = 1, kMaxTheta = 1e12;
  constexpr std::array<std::string_view, 2> kObjects = {"rope_parameters", "rope_scaling"};
  std::optional<double> theta = config.OptionalNumber("rope_theta", kMinTheta, kMaxTheta);
  std::optional<std::optional<RopeScaling>> scaling;
  for (const std::string_view key : kObjects) {
    if (config.Find(key) == nullptr) continue;
    const Fields rope = config.Object(key);
    const std::optional<RopeScaling> parsed = ParseScaling(rope);
    if (scaling.has_value() && *scaling != parsed) {
      config.Refuse(key, "other values than in rope_parameters, expected one rotary embedding");
    }
    scaling = parsed;
    const std::optional<double> own = rope.OptionalNumber("rope_theta", kMinTheta, kMaxTheta);
    if (own.has_value() && theta.has_value() && *own != *theta) {
      rope.Refuse("rope_theta", fmt::format("{}, but {} in another place; expected one value", *own, *theta));
    }
    if (own.has_value()) theta = own;
  }
  if (!theta.has_value()) {
    config.Refuse("rope_theta",
                  fmt::format("missing, expected a number from {} to {}, here or in rope_parameters",
                              kMinTheta, kMaxTheta),
                  "LLaMA 1 and 2 mean 10000 where the key is absent: add it if this is one of them");
  }
  return {*theta, scaling.value_or(std::nullopt)};
}

}  // namespace lowbit
