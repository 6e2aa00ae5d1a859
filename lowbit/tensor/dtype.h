// SPDX-License-Identifier: Apache-2.0
// Element types, and exact conversions between the floating ones.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace lowbit {

// Types of stored tensors. The names are those of safetensors.
enum class DType : uint8_t { kF32, kF16, kBF16, kI64, kI32, kU8 };

size_t SizeOf(DType type);          // bytes per element
std::string_view Name(DType type);  // "F32", …
std::optional<DType> ParseDType(std::string_view name);

constexpr bool IsFloating(DType type) {
  return type == DType::kF32 || type == DType::kF16 || type == DType::kBF16;
}

struct BF16 {
  uint16_t bits;
};
struct F16 {
  uint16_t bits;
};

inline float ToFloat(BF16 v) {
  return std::bit_cast<float>(static_cast<uint32_t>(v.bits) << 16);
}
inline float ToFloat(float v) {
  return v;
}
float ToFloat(F16 v);  // exact, subnormals included

// Round to nearest, ties to even; NaN stays NaN.
inline BF16 ToBF16(float v) {
  const auto u = std::bit_cast<uint32_t>(v);
  if ((u & 0x7FFFFFFFu) > 0x7F800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7FFFu + ((u >> 16) & 1u)) >> 16)};
}
F16 ToF16(float v);

}  // namespace lowbit
