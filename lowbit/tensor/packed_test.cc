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

// The definition of the bit stream: bit k of code c is bit c * bits + k of the row.
std::vector<uint8_t> PackedBitByBit(const std::vector<uint8_t>& codes, int bits) {
  const auto width = static_cast<size_t>(bits);
  std::vector<uint8_t> out((codes.size() * width + 7) / 8);
  for (size_t at = 0; at < codes.size() * width; ++at) {
    const int bit = codes[at / width] >> (at % width) & 1;
    out[at / 8] = static_cast<uint8_t>(out[at / 8] | bit << (at % 8));
  }
  return out;
}

TEST(PackRow, MatchesTheDefinitionOfTheBitStreamAtEveryLength) {
  std::mt19937 rng(2);
  for (int bits = 1; bits <= 8; ++bits) {
    for (size_t n = 1; n <= 70; ++n) {
      std::vector<uint8_t> codes(n);
      for (uint8_t& c : codes) c = static_cast<uint8_t>(rng() & ((1u << bits) - 1));
      std::vector<uint8_t> packed((n * static_cast<size_t>(bits) + 7) / 8, 0xFF);  // must be overwritten
      PackRow(codes, bits, packed.data());
      EXPECT_EQ(packed, PackedBitByBit(codes, bits)) << bits << " bits, " << n << " codes";
    }
  }
}

TEST(UnpackRow, IgnoresBitsBehindTheLastCode) {
  std::vector<uint8_t> codes(3);
  const std::vector<uint8_t> packed = {0b11010001, 0b11111110};  // 001, 010, 011, then seven bits of noise
  UnpackRow(packed.data(), 3, codes);
  EXPECT_EQ(codes, (std::vector<uint8_t>{1, 2, 3}));
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

TEST(Dequantize, PutsAColumnWhereTheOrderSays) {
  PackedTensor p = Small();
  p.rows = 2;  // positions of the second row: codes 3, 2, 1
  p.codes.push_back(0b00'01'10'11);
  p.scales = {0.5f, 2.0f, 1.0f, 4.0f};
  p.zeros = {1, 0, 2, 3};
  p.column_order = {2, 0, 1};
  Validate(p, Place("x"));
  Matrix out(2, 3);
  Dequantize(p, 0, out.view());
  EXPECT_EQ(std::vector<float>(out.data(), out.data() + 6),
            (std::vector<float>{0.0f, 6.0f, -0.5f, 0.0f, -8.0f, 1.0f}));
  Dequantize(p, 1, out.view().Rows(0, 1));  // a row on its own
  EXPECT_EQ(std::vector<float>(out.data(), out.data() + 3), (std::vector<float>{0.0f, -8.0f, 1.0f}));
}

TEST(PackedTensor, CountsTheColumnOrder) {
  PackedTensor p = Small();
  p.column_order = {2, 0, 1};
  EXPECT_EQ(p.StoredBits(), Small().StoredBits() + 3 * 32);
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
  p = Small();
  p.zeros[1] = 4;  // 2 bits: 0 to 3
  EXPECT_THROW(Validate(p, Place("x")), Error);
  for (const std::vector<uint32_t>& order :
       {std::vector<uint32_t>{0, 1}, {0, 1, 1}, {0, 1, 3}, {0, 1, 2, 3}}) {
    p = Small();
    p.column_order = order;
    EXPECT_THROW(Validate(p, Place("x")), Error);
  }
}

PackedTensor SmallPlanes() {
  PackedTensor p;
  p.format = PackFormat::kPlanes;
  p.bits = 2;
  p.rows = 2;
  p.cols = 5;  // groups of 3 and 2 columns; columns 1 and 3 are salient
  p.group_size = 3;
  p.salient = {0b01010};
  p.codes.resize(4);
  PackRow(std::vector<uint8_t>{0, 2, 3, 1, 2}, 2, p.codes.data());
  PackRow(std::vector<uint8_t>{1, 0, 1, 3, 0}, 2, p.codes.data() + 2);
  // centre m and s, tail m and s, salient m, s1 and s2
  for (const float first : {1.0f, 2.0f, 4.0f, 8.0f})
    p.scales.insert(p.scales.end(), {first, 0.5f, 10 * first, 0.25f, 100 * first, 0.125f, 0.0625f});
  return p;
}

TEST(Planes, AWeightIsASignAndWhatItsColumnMakesOfTheSecondBit) {
  const PackedTensor p = SmallPlanes();
  Validate(p, Place("x"));
  Matrix out(2, 5);
  Dequantize(p, 0, out.view());
  EXPECT_EQ(
      std::vector<float>(out.data(), out.data() + 10),
      (std::vector<float>{1 - 0.5f, 100 - 0.125f + 0.0625f, 10 + 0.25f, 200 + 0.125f - 0.0625f, 20 - 0.25f,
                          4 + 0.5f, 400 - 0.125f - 0.0625f, 4 + 0.5f, 800 + 0.125f + 0.0625f, 8 - 0.5f}));
  Dequantize(p, 1, out.view().Rows(0, 1));  // a row on its own
  EXPECT_EQ(out.data()[0], 4.5f);
}

TEST(Planes, CountEverythingThatIsStoredAndTheCodesAsThePaperDoes) {
  const PackedTensor p = SmallPlanes();
  EXPECT_EQ(p.StoredBits(), 10u * 2 + 4 * 7 * 16 + 5);
  EXPECT_EQ(p.CodeBits(), 2u * (5 + 2));
  EXPECT_EQ(Small().CodeBits(), 3u * 2);
}

TEST(Planes, ValidateNamesWhatDoesNotFit) {
  const auto refuses = [](const char* what, auto change) {
    PackedTensor p = SmallPlanes();
    change(p);
    try {
      Validate(p, Place("x"));
      ADD_FAILURE() << what;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << e.what();
    }
  };
  refuses("bits of a tensor of planes", [](PackedTensor& p) { p.bits = 1; });
  refuses("symmetric", [](PackedTensor& p) { p.symmetric = true; });
  refuses("number of scales", [](PackedTensor& p) { p.scales.pop_back(); });
  refuses("bytes of column flags", [](PackedTensor& p) { p.salient.clear(); });
  refuses("length of the column order", [](PackedTensor& p) { p.column_order = {0, 1, 2, 3, 4}; });
  refuses("scale of group 3 is not finite", [](PackedTensor& p) { p.scales.back() = NAN; });
  PackedTensor p = Small();
  p.salient = {0};
  EXPECT_THROW(Validate(p, Place("x")), Error);
}

}  // namespace
}  // namespace lowbit
