// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/random.h"

#include <gtest/gtest.h>

#include <set>
#include <vector>

namespace lowbit {
namespace {

// The first numbers of the authors' splitmix64.c.
TEST(SplitMix64, GivesThePublishedNumbers) {
  SplitMix64 zero(0);
  EXPECT_EQ(zero.Next(), 0xE220A8397B1DCDAFu);
  EXPECT_EQ(zero.Next(), 0x6E789E6AA1B965F4u);
  EXPECT_EQ(zero.Next(), 0x06C45D188009454Fu);
  SplitMix64 other(1234567);
  EXPECT_EQ(other.Next(), 6457827717110365317u);
  EXPECT_EQ(other.Next(), 3203168211198807973u);
}

TEST(SplitMix64, BelowIsEvenAndInside) {
  SplitMix64 random(7);
  std::vector<int> counts(6);
  for (int i = 0; i < 60000; ++i) ++counts.at(random.Below(6));
  for (const int count : counts) EXPECT_NEAR(count, 10000, 400);  // four deviations
  for (int i = 0; i < 100; ++i) EXPECT_EQ(random.Below(1), 0u);
  const uint64_t most = ~uint64_t{0};
  for (int i = 0; i < 100; ++i) EXPECT_LT(random.Below(most), most);
}

TEST(SplitMix64, ItemsHaveTheirOwnNumbers) {
  std::set<uint64_t> seen;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    for (uint64_t item = 0; item < 100; ++item) {
      SplitMix64 random = SplitMix64::ForItem(seed, item);
      for (int i = 0; i < 10; ++i) seen.insert(random.Next());
    }
  }
  EXPECT_EQ(seen.size(), 10000u);
}

}  // namespace
}  // namespace lowbit
