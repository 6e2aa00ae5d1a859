// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/packed.h"

#include <gtest/gtest.h>

#include <random>

namespace lowbit {
namespace {

TEST(PackRow, RoundTripIsExactForEveryBitWidthAndOddLength) {
  std::mt19937 rng(1);
  for (int bits = 1; bits <= 8; ++bits) {
    for (const size_t n : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 127, 576, 1000}) {
      std::vector<uint8_t> codes(n), back(n);
      for (uint8_t& c : codes) c = static_cast<uint8_t>(rng() & ((1u << bits) - 1));
      std::vector<uint8_t> packed((n * static_cast<size_t>(bits) + 7) / 8);
      PackRow(codes, bits, packed.data());
      UnpackRow(packed.data(), bits, back);
      EXPECT_EQ(codes, back) << bits << " bits, " << n << " codes";
    }
  }
}

TEST(PackRow, LowestCodeIsInTheLowestBits) {
  const std::vector<uint8_t> codes = {1, 2, 3};  // 3 bits each: 001, 010, 011 -> 0b0_11010001
  std::vector<uint8_t> packed(2);
  PackRow(codes, 3, packed.data());
  EXPECT_EQ(packed[0], 0b11010001);
  EXPECT_EQ(packed[1], 0b0);
}

PackedTensor Small() {
  PackedTensor p;
  p.bits = 2;
  p.rows = 1;
  p.cols = 3;
  p.group_size = 2;
  p.codes = {0b00'11'01'00};
  p.scales = {0.5f, 2.0f};
  p.zeros = {1, 0};
  return p;
}

TEST(Dequantize, UsesScaleAndZeroOfTheGroupAndAllowsAShortLastGroup) {
  Matrix out(1, 3);
  Dequantize(Small(), 0, out.view());
  EXPECT_EQ(out.data()[0], -0.5f);
  EXPECT_EQ(out.data()[1], 0.0f);
  EXPECT_EQ(out.data()[2], 6.0f);
}

TEST(PackedTensor, CountsScalesAndZeroPoints) {
  // 3 codes of 2 bits, 2 groups of one f16 scale and one 2-bit zero point.
  EXPECT_EQ(Small().StoredBits(), 3u * 2 + 2 * (16 + 2));
}

TEST(Validate, NamesWhatDoesNotFit) {
  Validate(Small(), Place("x"));
  PackedTensor p = Small();
  p.scales.pop_back();
  EXPECT_THROW(Validate(p, Place("x")), Error);
  p = Small();
  p.scales[1] = INFINITY;
  EXPECT_THROW(Validate(p, Place("x")), Error);
  p = Small();
  p.group_size = 4;
  EXPECT_THROW(Validate(p, Place("x")), Error);
}

}  // namespace
}  // namespace lowbit
