// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/log.h"

#include <gtest/gtest.h>

namespace lowbit {
namespace {

std::string LoggedAt(LogLevel level) {
  SetLogLevel(level);
  ::testing::internal::CaptureStderr();
  LogDetail("detail");
  LogInfo("info");
  LogWarning("first\nsecond");
  SetLogLevel(LogLevel::kNormal);
  return ::testing::internal::GetCapturedStderr();
}

TEST(Log, LevelDecidesWhatIsSaidAndWarningsAreAlwaysSaid) {
  EXPECT_EQ(LoggedAt(LogLevel::kQuiet), "warning: first\\x0asecond\n");
  EXPECT_EQ(LoggedAt(LogLevel::kNormal), "info\nwarning: first\\x0asecond\n");
  EXPECT_EQ(LoggedAt(LogLevel::kVerbose), "detail\ninfo\nwarning: first\\x0asecond\n");
}

TEST(Log, NothingGoesToStdout) {
  ::testing::internal::CaptureStdout();
  LogWarning("x");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "");
}

}  // namespace
}  // namespace lowbit
