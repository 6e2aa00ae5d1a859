// SPDX-License-Identifier: Apache-2.0
// For tests of files of packed tensors.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "lowbit/checkpoint/artefact.h"

namespace lowbit {

// Without fsync: these tests write thousands of files.
inline void Overwrite(const std::string& path, std::string_view content) {
  std::ofstream(path, std::ios::binary) << content;
}

inline PackedTensor RandomPacked(int bits, bool symmetric, size_t rows, size_t cols, size_t group, DType type,
                                 uint32_t seed) {
  std::mt19937 rng(seed);
  PackedTensor p;
  p.format = bits == 1 ? PackFormat::kBinary : PackFormat::kUniform;
  p.bits = bits;
  p.symmetric = symmetric;
  p.scale_type = type;
  p.rows = rows;
  p.cols = cols;
  p.group_size = group;
  std::vector<uint8_t> codes(cols);
  p.codes.resize(rows * p.RowBytes());
  for (size_t r = 0; r < rows; ++r) {
    for (uint8_t& c : codes) c = static_cast<uint8_t>(rng() & ((1u << bits) - 1));
    PackRow(codes, bits, p.codes.data() + r * p.RowBytes());
  }
  const auto random_float = [&] {
    const float v = std::ldexp(static_cast<float>(rng() % 2001) - 1000, -12);
    return type == DType::kF16 ? ToFloat(ToF16(v)) : v;
  };
  for (size_t i = 0; i < rows * p.Groups(); ++i) {
    p.scales.push_back(random_float());
    if (p.format == PackFormat::kBinary) p.means.push_back(random_float());
    if (p.format == PackFormat::kUniform && !symmetric)
      p.zeros.push_back(static_cast<uint8_t>(rng() & ((1u << bits) - 1)));
  }
  Validate(p, Place("test"));
  return p;
}

inline bool Same(const PackedTensor& a, const PackedTensor& b) {
  const PackedSettings &of_a = a, &of_b = b;
  return of_a == of_b && a.codes == b.codes && a.scales == b.scales && a.zeros == b.zeros &&
         a.means == b.means && a.salient == b.salient && a.column_order == b.column_order;
}

inline bool Same(const PackedTensors& a, const PackedTensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.first == y.first && Same(x.second, y.second);
  });
}

template <class Action>
std::string MessageOf(const Action& action, ErrorKind kind = ErrorKind::kContent) {
  try {
    action();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  return "no error";
}

}  // namespace lowbit
