// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/human.h"

#include <gtest/gtest.h>

#include "lowbit/base/error.h"

namespace lowbit {
namespace {

TEST(HumanBytes, ThreeDigitsInDecimalUnits) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1000), "1.00 kB");
  EXPECT_EQ(HumanBytes(8'137'024), "8.14 MB");
  EXPECT_EQ(HumanBytes(9'994), "9.99 kB");
  EXPECT_EQ(HumanBytes(9'996), "10.0 kB");
  EXPECT_EQ(HumanBytes(99'960), "100 kB");
  EXPECT_EQ(HumanBytes(999'499), "999 kB");
  EXPECT_EQ(HumanBytes(999'500), "1.00 MB") << "never 1000 kB";
  EXPECT_EQ(HumanBytes(16'381'470'720), "16.4 GB");
  EXPECT_EQ(HumanBytes(UINT64_MAX), "18446744 TB");
}

TEST(HumanCount, UnitsOfCounting) {
  EXPECT_EQ(HumanCount(0), "0");
  EXPECT_EQ(HumanCount(999), "999");
  EXPECT_EQ(HumanCount(1500), "1.50 k");
  EXPECT_EQ(HumanCount(134'515'008), "135 M");
  EXPECT_EQ(HumanCount(8'190'735'360), "8.19 B");
}

TEST(HumanSeconds, GrowsFromFractionsToHours) {
  EXPECT_EQ(HumanSeconds(0), "0 s");
  EXPECT_EQ(HumanSeconds(0.42), "0.42 s");
  EXPECT_EQ(HumanSeconds(9.4), "9.4 s");
  EXPECT_EQ(HumanSeconds(9.96), "10 s");
  EXPECT_EQ(HumanSeconds(59.4), "59 s");
  EXPECT_EQ(HumanSeconds(59.6), "1:00");
  EXPECT_EQ(HumanSeconds(187), "3:07");
  EXPECT_EQ(HumanSeconds(3753), "1:02:33");
  EXPECT_EQ(HumanSeconds(360'000), "100:00:00");
}

TEST(ParseBytes, ReadsDecimalAndBinaryUnits) {
  EXPECT_EQ(ParseBytes("123456"), 123456u);
  EXPECT_EQ(ParseBytes("4GB"), 4'000'000'000u);
  EXPECT_EQ(ParseBytes("1.5 GiB"), 1'610'612'736u);
  EXPECT_EQ(ParseBytes("800m"), 800'000'000u);
  EXPECT_EQ(ParseBytes("16KiB"), 16384u);
  for (const char* bad :
       {"", "GB", "4XB", "-1", "0", "4 G B x", "1e3", "1e999", "nan", "inf", "9999999TB", "0x10"}) {
    EXPECT_THROW(ParseBytes(bad), Error) << bad;
  }
}

}  // namespace
}  // namespace lowbit
