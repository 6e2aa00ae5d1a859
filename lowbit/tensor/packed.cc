// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/packed.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace lowbit {

std::string_view Name(PackFormat format) { return format == PackFormat::kUniform ? "uniform" : "binary"; }

uint64_t PackedTensor::StoredBits() const {
  const uint64_t groups = static_cast<uint64_t>(rows) * Groups();
  uint64_t per_group = 8 * SizeOf(scale_type);
  if (format == PackFormat::kBinary) per_group += 8 * SizeOf(scale_type);  // the mean
  if (format == PackFormat::kUniform && !symmetric) per_group += static_cast<uint64_t>(bits);
  return static_cast<uint64_t>(rows) * cols * static_cast<uint64_t>(bits) + groups * per_group;
}

double PackedTensor::BitsPerWeight() const {
  return static_cast<double>(StoredBits()) / (static_cast<double>(rows) * static_cast<double>(cols));
}

void Validate(const PackedTensor& packed, const Place& place) {
  const auto check = [&](bool ok, std::string_view what, size_t got, std::string_view want) {
    if (!ok) throw Error(ErrorKind::kContent, place, fmt::format("{} is {}, expected {}", what, got, want));
  };
  const PackedTensor& p = packed;
  check(p.bits >= 1 && p.bits <= 8, "bits", static_cast<size_t>(p.bits), "1 to 8");
  check(p.format != PackFormat::kBinary || p.bits == 1, "bits of a binary tensor", static_cast<size_t>(p.bits), "1");
  check(p.rows > 0 && p.cols > 0, "the number of weights", p.rows * p.cols, "at least 1");
  check(p.group_size > 0 && p.group_size <= p.cols, "group size", p.group_size, fmt::format("1 to {}", p.cols));
  check(p.scale_type == DType::kF16 || p.scale_type == DType::kF32, "scale type", static_cast<size_t>(p.scale_type), "F16 or F32");
  const size_t groups = p.rows * p.Groups();
  check(p.codes.size() == p.rows * p.RowBytes(), "bytes of codes", p.codes.size(), fmt::format("{}", p.rows * p.RowBytes()));
  check(p.scales.size() == groups, "number of scales", p.scales.size(), fmt::format("{}", groups));
  const bool has_zeros = p.format == PackFormat::kUniform && !p.symmetric;
  check(p.zeros.size() == (has_zeros ? groups : 0), "number of zero points", p.zeros.size(), fmt::format("{}", has_zeros ? groups : 0));
  const bool has_means = p.format == PackFormat::kBinary;
  check(p.means.size() == (has_means ? groups : 0), "number of means", p.means.size(), fmt::format("{}", has_means ? groups : 0));
  for (size_t i = 0; i < groups; ++i) {
    if (!std::isfinite(p.scales[i]) || (has_means && !std::isfinite(p.means[i]))) {
      throw Error(ErrorKind::kNumeric, place, fmt::format("scale of group {} is not finite", i));
    }
  }
}

void PackRow(std::span<const uint8_t> codes, int bits, uint8_t* out) {
  uint32_t window = 0;  // bits not yet written, lowest first
  int held = 0;
  for (const uint8_t code : codes) {
    LOWBIT_ASSERT(code < (1u << bits));
    window |= static_cast<uint32_t>(code) << held;
    held += bits;
    while (held >= 8) {
      *out++ = static_cast<uint8_t>(window);
      window >>= 8;
      held -= 8;
    }
  }
  if (held > 0) *out = static_cast<uint8_t>(window);
}

void UnpackRow(const uint8_t* packed, int bits, std::span<uint8_t> codes) {
  const uint32_t mask = (1u << bits) - 1;
  uint32_t window = 0;
  int held = 0;
  for (uint8_t& code : codes) {
    if (held < bits) {
      window |= static_cast<uint32_t>(*packed++) << held;
      held += 8;
    }
    code = static_cast<uint8_t>(window & mask);
    window >>= bits;
    held -= bits;
  }
}

void Dequantize(const PackedTensor& packed, size_t first, MatView<float> out) {
  LOWBIT_ASSERT(first + out.rows <= packed.rows && out.cols == packed.cols);
  const float symmetric_zero = static_cast<float>(1u << (packed.bits - 1));
  std::vector<uint8_t> codes(packed.cols);
  for (size_t r = 0; r < out.rows; ++r) {
    const size_t row = first + r;
    UnpackRow(packed.codes.data() + row * packed.RowBytes(), packed.bits, codes);
    float* w = out.Row(r);
    for (size_t k = 0; k < packed.Groups(); ++k) {
      const size_t i = row * packed.Groups() + k, end = std::min(packed.cols, (k + 1) * packed.group_size);
      const float s = packed.scales[i];
      if (packed.format == PackFormat::kBinary) {
        for (size_t c = k * packed.group_size; c < end; ++c) w[c] = packed.means[i] + (codes[c] != 0 ? s : -s);
      } else {
        const float z = packed.symmetric ? symmetric_zero : static_cast<float>(packed.zeros[i]);
        for (size_t c = k * packed.group_size; c < end; ++c) w[c] = s * (static_cast<float>(codes[c]) - z);
      }
    }
  }
}

}  // namespace lowbit
