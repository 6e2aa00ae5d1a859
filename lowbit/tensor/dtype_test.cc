// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/dtype.h"

#include <gtest/gtest.h>

#include <cmath>

namespace lowbit {
namespace {

TEST(F16, EveryValueSurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const F16 half{static_cast<uint16_t>(bits)};
    const float value = ToFloat(half);
    if (std::isnan(value)) {
      EXPECT_TRUE(std::isnan(ToFloat(ToF16(value))));
    } else {
      EXPECT_EQ(ToF16(value).bits, half.bits) << bits;
    }
  }
}

TEST(F16, MidpointsBetweenNeighboursGoToTheEvenOne) {
  for (uint32_t bits = 0; bits < 0x7BFF; ++bits) {
    const float low = ToFloat(F16{static_cast<uint16_t>(bits)}),
                high = ToFloat(F16{static_cast<uint16_t>(bits + 1)});
    const float middle = low + (high - low) / 2;  // exact in f32
    EXPECT_EQ(ToF16(middle).bits, bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(ToF16(std::nextafter(middle, 1e9f)).bits, bits + 1);
  }
}

TEST(BF16, RoundsHalfToEvenAndKeepsNaN) {
  EXPECT_EQ(ToBF16(std::bit_cast<float>(0x3F808000u)).bits, 0x3F80);  // tie, even stays
  EXPECT_EQ(ToBF16(std::bit_cast<float>(0x3F818000u)).bits, 0x3F82);  // tie, odd goes up
  EXPECT_EQ(ToBF16(std::bit_cast<float>(0x3F808001u)).bits, 0x3F81);
  EXPECT_TRUE(std::isnan(ToFloat(ToBF16(std::bit_cast<float>(0x7F800001u)))));
}

}  // namespace
}  // namespace lowbit
