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

// python3 -c 'import random; random.seed(0); print([random.getrandbits(32) for i in range(4)])', and randint(0, n - 1).
TEST(PythonRandom, DrawsWhatPythonDraws) {
  PythonRandom raw(0);
  for (const uint32_t number : {3626764237u, 1654615998u, 3255389356u, 3823568514u})
    EXPECT_EQ(raw.Next(), number);
  PythonRandom documents(0);
  for (const uint32_t index : {25247u, 27562u, 2653u, 16968u, 33506u, 31845u, 26537u, 19877u})
    EXPECT_EQ(documents.Below(45576), index);
  PythonRandom late(4294967295);
  for (int i = 0; i < 698; ++i) late.Next();  // past the first 624
  EXPECT_EQ(late.Next(), 1614424826u);
  EXPECT_EQ(late.Next(), 1534215042u);
  PythonRandom sizes(20231121);
  for (const uint32_t number : {3068769260u, 3730383434u, 3439325315u})
    EXPECT_EQ(sizes.Below(4294967295), number);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(sizes.Below(1), 0u);
  for (const uint32_t number : {248u, 78u, 102u}) EXPECT_EQ(sizes.Below(256), number);
  for (const uint32_t number : {22u, 221u, 14u}) EXPECT_EQ(sizes.Below(257), number);
}

TEST(PythonRandom, BelowOneDrawsUntilItIsZero) {
  PythonRandom random(0), raw(0);
  EXPECT_EQ(random.Below(1), 0u);
  while (raw.Next() >> 31 != 0) {
  }
  EXPECT_EQ(random.Next(), raw.Next());  // neither more nor fewer numbers
}

}  // namespace
}  // namespace lowbit
