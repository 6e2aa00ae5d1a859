// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/dtype.h"

#include <array>
#include <utility>

namespace lowbit {
namespace {

struct DTypeRow {
  DType type;
  std::string_view name;
  size_t size;
};
constexpr std::array kDTypes = {
    DTypeRow{DType::kF32, "F32", 4}, DTypeRow{DType::kF16, "F16", 2}, DTypeRow{DType::kBF16, "BF16", 2},
    DTypeRow{DType::kI64, "I64", 8}, DTypeRow{DType::kI32, "I32", 4}, DTypeRow{DType::kU8, "U8", 1},
};

}  // namespace

size_t SizeOf(DType type) {
  return kDTypes[static_cast<size_t>(type)].size;
}
std::string_view Name(DType type) {
  return kDTypes[static_cast<size_t>(type)].name;
}

std::optional<DType> ParseDType(std::string_view name) {
  for (const DTypeRow& row : kDTypes) {
    if (row.name == name) return row.type;
  }
  return std::nullopt;
}

float ToFloat(F16 v) {
  const uint32_t sign = static_cast<uint32_t>(v.bits & 0x8000u) << 16;
  const uint32_t exponent = (v.bits >> 10) & 0x1Fu, mantissa = v.bits & 0x3FFu;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000u | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;  // exact
    return sign != 0 ? -magnitude : magnitude;
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

F16 ToF16(float v) {
  const auto u = std::bit_cast<uint32_t>(v);
  const auto sign = static_cast<uint16_t>((u >> 16) & 0x8000u);
  const uint32_t magnitude = u & 0x7FFFFFFFu;
  if (magnitude > 0x7F800000u) return {static_cast<uint16_t>(sign | 0x7E00u)};
  if (magnitude >= 0x477FF000u) return {static_cast<uint16_t>(sign | 0x7C00u)};  // rounds to 65536 or more
  if (magnitude < 0x38800000u) {
    // Subnormal result: adding 0.5 puts the value on the grid of 2^-24 with the right rounding.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return {static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3F000000u))};
  }
  const uint32_t rounded = magnitude + 0xFFFu + ((magnitude >> 13) & 1u);
  return {static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13))};
}

}  // namespace lowbit
