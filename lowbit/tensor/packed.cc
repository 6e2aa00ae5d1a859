// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/packed.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

namespace lowbit {

std::string_view Name(PackFormat format) {
  switch (format) {
    case PackFormat::kUniform:
      return "uniform";
    case PackFormat::kBinary:
      return "binary";
    case PackFormat::kPlanes:
      break;
  }
  return "planes";
}

PlaneLevels LevelsOfPlanes(std::span<const float, kPlaneScalars> s) {
  PlaneLevels levels;
  for (int code = 0; code < 4; ++code) {
    const bool sign = (code & 1) != 0, second = (code & 2) != 0;
    const float scale = s[second ? kTailScale : kCentreScale];
    levels.of[0][code] = s[second ? kTailMean : kCentreMean] + (sign ? scale : -scale);
    const float first = s[kSalientMean] + (sign ? s[kSalientScale] : -s[kSalientScale]);
    levels.of[1][code] = first + (second ? s[kResidualScale] : -s[kResidualScale]);
  }
  return levels;
}

uint64_t PackedSettings::Bytes(DType scales) const {
  const uint64_t groups = rows * Groups();
  const uint64_t floats = groups * (ScalesPerGroup() + (format == PackFormat::kBinary ? 1 : 0));
  const uint64_t zeros = format == PackFormat::kUniform && !symmetric ? groups : 0;
  const uint64_t flags = format == PackFormat::kPlanes ? (cols + 7) / 8 : 0;
  return rows * RowBytes() + floats * SizeOf(scales) + zeros + flags;
}

uint64_t PackedTensor::StoredBits() const {
  const uint64_t groups = static_cast<uint64_t>(rows) * Groups();
  uint64_t per_group = 8 * SizeOf(scale_type) * ScalesPerGroup();
  if (format == PackFormat::kBinary) per_group += 8 * SizeOf(scale_type);  // the mean
  if (format == PackFormat::kUniform && !symmetric) per_group += static_cast<uint64_t>(bits);
  return static_cast<uint64_t>(rows) * cols * static_cast<uint64_t>(bits) + groups * per_group +
         8 * sizeof(uint32_t) * column_order.size() + (format == PackFormat::kPlanes ? cols : 0) +
         (input.scale > 0 ? 8 * sizeof(float) : 0);
}

uint64_t PackedTensor::CodeBits() const {
  if (format != PackFormat::kPlanes) return static_cast<uint64_t>(rows) * cols * static_cast<uint64_t>(bits);
  uint64_t columns = cols;
  for (size_t c = 0; c < cols; ++c) columns += IsSalient(c) ? 1 : 0;
  return rows * columns;
}

double PackedTensor::BitsPerWeight() const {
  return static_cast<double>(StoredBits()) / (static_cast<double>(rows) * static_cast<double>(cols));
}

namespace {

// Throws unless `order` holds each column once.
void CheckOrder(std::span<const uint32_t> order, const Place& place) {
  std::vector<bool> seen(order.size());
  for (size_t p = 0; p < order.size(); ++p) {
    const bool is_column = order[p] < order.size();
    if (is_column && !seen[order[p]]) {
      seen[order[p]] = true;
      continue;
    }
    throw Error(ErrorKind::kContent, place,
                fmt::format("column order has {} at position {}, expected every column from 0 to {} once",
                            order[p], p, order.size() - 1));
  }
}

void CheckInput(const PackedTensor& packed, const Place& place) {
  const InputForm& input = packed.input;
  const size_t block = input.rotation;
  if (block != 0 && (!std::has_single_bit(block) || packed.cols % block != 0)) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("rotation of inputs is {}, expected a power of two that divides {} columns",
                            block, packed.cols));
  }
  if (input.bits != 0 && (input.bits < 2 || input.bits > 8)) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("bits of inputs is {}, expected 2 to 8, or 0", input.bits));
  }
  if (input.bits != 0 && packed.format != PackFormat::kUniform) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("bits of inputs is {} beside {}, expected 0: its levels are no integers",
                            input.bits, Name(packed.format)));
  }
  const bool has_scale = input.scale != 0;
  if (has_scale && (input.bits == 0 || !std::isfinite(input.scale) || input.scale < 0)) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("scale of inputs is {} beside {} bits, expected a positive number beside some",
                            input.scale, input.bits));
  }
}

}  // namespace

void Validate(const PackedTensor& packed, const Place& place) {
  const auto check = [&](bool ok, std::string_view what, size_t got, std::string_view want) {
    if (!ok) throw Error(ErrorKind::kContent, place, fmt::format("{} is {}, expected {}", what, got, want));
  };
  const PackedTensor& p = packed;
  check(p.bits >= 1 && p.bits <= 8, "bits", static_cast<size_t>(p.bits), "1 to 8");
  check(p.format != PackFormat::kBinary || p.bits == 1, "bits of a binary tensor",
        static_cast<size_t>(p.bits), "1");
  const bool is_planes = p.format == PackFormat::kPlanes;
  check(!is_planes || p.bits == 2, "bits of a tensor of planes", static_cast<size_t>(p.bits), "2");
  check(!is_planes || !p.symmetric, "symmetric of a tensor of planes", 1, "0");
  check(p.rows > 0 && p.cols > 0, "the number of weights", p.rows * p.cols, "at least 1");
  check(p.group_size > 0 && p.group_size <= p.cols, "group size", p.group_size,
        fmt::format("1 to {}", p.cols));
  check(p.scale_type == DType::kF16 || p.scale_type == DType::kF32, "scale type",
        static_cast<size_t>(p.scale_type), "F16 or F32");
  const size_t groups = p.rows * p.Groups();
  check(p.codes.size() == p.rows * p.RowBytes(), "bytes of codes", p.codes.size(),
        fmt::format("{}", p.rows * p.RowBytes()));
  const size_t scales = groups * p.ScalesPerGroup();
  check(p.scales.size() == scales, "number of scales", p.scales.size(), fmt::format("{}", scales));
  const bool has_zeros = p.format == PackFormat::kUniform && !p.symmetric;
  check(p.zeros.size() == (has_zeros ? groups : 0), "number of zero points", p.zeros.size(),
        fmt::format("{}", has_zeros ? groups : 0));
  const bool has_means = p.format == PackFormat::kBinary;
  check(p.means.size() == (has_means ? groups : 0), "number of means", p.means.size(),
        fmt::format("{}", has_means ? groups : 0));
  const size_t flag_bytes = is_planes ? (p.cols + 7) / 8 : 0;
  check(p.salient.size() == flag_bytes, "bytes of column flags", p.salient.size(),
        fmt::format("{}", flag_bytes));
  check(p.column_order.empty() || (p.column_order.size() == p.cols && !is_planes),
        "length of the column order", p.column_order.size(),
        is_planes ? "0" : fmt::format("0 or {}", p.cols));
  CheckOrder(p.column_order, place);
  CheckInput(p, place);
  for (size_t i = 0; i < groups; ++i) {
    if (has_zeros && p.zeros[i] >> p.bits != 0) {
      check(false, fmt::format("zero point of group {}", i), p.zeros[i],
            fmt::format("0 to {}", (1 << p.bits) - 1));
    }
    const std::span<const float> of_group =
        std::span(p.scales).subspan(i * p.ScalesPerGroup(), p.ScalesPerGroup());
    const bool is_finite = std::ranges::all_of(of_group, [](float s) { return std::isfinite(s); });
    if (!is_finite || (has_means && !std::isfinite(p.means[i]))) {
      throw Error(ErrorKind::kNumeric, place, fmt::format("scale of group {} is not finite", i));
    }
  }
}

namespace {

static_assert(std::endian::native == std::endian::little, "files and bit streams are little-endian");

// The lowest `width` bits of every `stride` bits set.
constexpr uint64_t Mask(int width, int stride) {
  uint64_t mask = 0;
  for (int at = 0; at < 64; at += stride) mask |= (~uint64_t{0} >> (64 - width)) << at;
  return mask;
}

// Eight codes, one a byte, moved into the lowest 8 * kBits bits: neighbours meet in pairs, fours, eights.
template <int kBits>
uint64_t Squeeze(uint64_t x) {
  constexpr uint64_t kOne = Mask(kBits, 16), kTwo = Mask(2 * kBits, 32), kFour = Mask(4 * kBits, 64);
  x = (x & kOne) | ((x >> (8 - kBits)) & (kOne << kBits));
  x = (x & kTwo) | ((x >> (16 - 2 * kBits)) & (kTwo << 2 * kBits));
  return (x & kFour) | ((x >> (32 - 4 * kBits)) & (kFour << 4 * kBits));
}

// The inverse of Squeeze; bits of `x` above the lowest 8 * kBits are ignored.
template <int kBits>
uint64_t Spread(uint64_t x) {
  constexpr uint64_t kOne = Mask(kBits, 16), kTwo = Mask(2 * kBits, 32), kFour = Mask(4 * kBits, 64);
  x = (x & kFour) | ((x & (kFour << 4 * kBits)) << (32 - 4 * kBits));
  x = (x & kTwo) | ((x & (kTwo << 2 * kBits)) << (16 - 2 * kBits));
  return (x & kOne) | ((x & (kOne << kBits)) << (8 - kBits));
}

// Up to eight bytes as a word. A copy into a word that holds something already would stall on every step.
template <int kBytes>
uint64_t LoadWord(const uint8_t* from) {
  uint64_t word = 0;
  for (int i = 0; i < kBytes; ++i) word |= static_cast<uint64_t>(from[i]) << 8 * i;
  return word;
}

template <int kBits>
void PackRowOf(std::span<const uint8_t> codes, uint8_t* out) {
  const size_t whole = codes.size() / 8, rest = codes.size() % 8;
  for (size_t i = 0; i < whole; ++i, out += kBits) {  // eight codes fill kBits bytes
    uint64_t eight;
    std::memcpy(&eight, codes.data() + 8 * i, 8);
    eight = Squeeze<kBits>(eight);
    std::memcpy(out, &eight, kBits);
  }
  if (rest == 0) return;
  uint64_t last = 0;
  std::memcpy(&last, codes.data() + 8 * whole, rest);
  last = Squeeze<kBits>(last);
  std::memcpy(out, &last, (rest * kBits + 7) / 8);
}

template <int kBits>
void UnpackRowOf(const uint8_t* packed, std::span<uint8_t> codes) {
  const size_t whole = codes.size() / 8, rest = codes.size() % 8;
  for (size_t i = 0; i < whole; ++i, packed += kBits) {
    const uint64_t eight = Spread<kBits>(LoadWord<kBits>(packed));
    std::memcpy(codes.data() + 8 * i, &eight, 8);
  }
  if (rest == 0) return;
  uint64_t last = 0;
  std::memcpy(&last, packed, (rest * kBits + 7) / 8);
  last = Spread<kBits>(last);
  std::memcpy(codes.data() + 8 * whole, &last, rest);
}

}  // namespace

void PackRow(std::span<const uint8_t> codes, int bits, uint8_t* out) {
  switch (bits) {
    case 1:
      return PackRowOf<1>(codes, out);
    case 2:
      return PackRowOf<2>(codes, out);
    case 3:
      return PackRowOf<3>(codes, out);
    case 4:
      return PackRowOf<4>(codes, out);
    case 5:
      return PackRowOf<5>(codes, out);
    case 6:
      return PackRowOf<6>(codes, out);
    case 7:
      return PackRowOf<7>(codes, out);
    case 8:
      return PackRowOf<8>(codes, out);
    default:
      LOWBIT_ASSERT(false);
  }
}

void UnpackRow(const uint8_t* packed, int bits, std::span<uint8_t> codes) {
  switch (bits) {
    case 1:
      return UnpackRowOf<1>(packed, codes);
    case 2:
      return UnpackRowOf<2>(packed, codes);
    case 3:
      return UnpackRowOf<3>(packed, codes);
    case 4:
      return UnpackRowOf<4>(packed, codes);
    case 5:
      return UnpackRowOf<5>(packed, codes);
    case 6:
      return UnpackRowOf<6>(packed, codes);
    case 7:
      return UnpackRowOf<7>(packed, codes);
    case 8:
      return UnpackRowOf<8>(packed, codes);
    default:
      LOWBIT_ASSERT(false);
  }
}

namespace {

void DequantizePlanes(const PackedTensor& packed, size_t row, const uint8_t* codes, float* w) {
  for (size_t k = 0; k < packed.Groups(); ++k) {
    const size_t i = row * packed.Groups() + k, end = std::min(packed.cols, (k + 1) * packed.group_size);
    const PlaneLevels levels =
        LevelsOfPlanes(std::span(packed.scales).subspan(i * kPlaneScalars).first<kPlaneScalars>());
    for (size_t c = k * packed.group_size; c < end; ++c) w[c] = levels.of[packed.IsSalient(c)][codes[c]];
  }
}

// Weights of one row, by position.
void DequantizeRow(const PackedTensor& packed, size_t row, const uint8_t* codes, float* w) {
  if (packed.format == PackFormat::kPlanes) return DequantizePlanes(packed, row, codes, w);
  const auto symmetric_zero = static_cast<float>(1u << (packed.bits - 1));
  for (size_t k = 0; k < packed.Groups(); ++k) {
    const size_t i = row * packed.Groups() + k, end = std::min(packed.cols, (k + 1) * packed.group_size);
    const float s = packed.scales[i];
    if (packed.format == PackFormat::kBinary) {
      for (size_t p = k * packed.group_size; p < end; ++p) w[p] = packed.means[i] + (codes[p] != 0 ? s : -s);
    } else {
      const float z = packed.symmetric ? symmetric_zero : static_cast<float>(packed.zeros[i]);
      for (size_t p = k * packed.group_size; p < end; ++p) w[p] = s * (static_cast<float>(codes[p]) - z);
    }
  }
}

}  // namespace

void Dequantize(const PackedTensor& packed, size_t first, MatView<float> out) {
  LOWBIT_ASSERT(first + out.rows <= packed.rows && out.cols == packed.cols);
  std::vector<uint8_t> codes(packed.cols);
  std::vector<float> by_position(packed.column_order.size());
  for (size_t r = 0; r < out.rows; ++r) {
    const size_t row = first + r;
    UnpackRow(packed.codes.data() + row * packed.RowBytes(), packed.bits, codes);
    float* w = out.Row(r);
    if (by_position.empty()) {
      DequantizeRow(packed, row, codes.data(), w);
      continue;
    }
    DequantizeRow(packed, row, codes.data(), by_position.data());
    for (size_t p = 0; p < packed.cols; ++p) w[packed.column_order[p]] = by_position[p];
  }
}

}  // namespace lowbit
