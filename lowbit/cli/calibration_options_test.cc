// SPDX-License-Identifier: Apache-2.0
#include "lowbit/cli/calibration_options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/test_folder.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

std::optional<CalibrationSpec> Parse(std::vector<std::string> arguments) {
  CLI::App app;
  CalibrationOptions options;
  options.AddTo(app);
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  app.parse(arguments);
  return options.Spec();
}

TEST(CalibrationOptions, DefaultsAreThoseOfThePapers) {
  EXPECT_EQ(Parse({}), std::nullopt);
  const CalibrationSpec expected = {.file = "x.jsonl", .samples = 128, .length = 2048};
  EXPECT_EQ(Parse({"--calib", "x.jsonl"}), expected);
}

TEST(CalibrationOptions, EveryFlagArrives) {
  const CalibrationSpec expected = {.file = "x.txt.gz",
                                    .samples = 3,
                                    .length = 17,
                                    .policy = CalibrationPolicy::kWindow,
                                    .seed = 18446744073709551615u};
  EXPECT_EQ(Parse({"--calib", "x.txt.gz", "--calib-samples", "3", "--calib-length", "17", "--calib-policy",
                   "window", "--calib-seed", "18446744073709551615"}),
            expected);
}

TEST(CalibrationOptions, C4IsTheSliceInADataFolder) {
  const TestFolder folder;
  std::filesystem::create_directories(folder.File("c4"));
  const std::string file = folder.Write("c4/train.head.jsonl", "{\"text\": \"a\"}\n");
  EXPECT_EQ(Parse({"--calib", "c4", "--data", folder.path()})->file, file);
}

TEST(CalibrationOptions, MistakesAreUsageErrors) {
  const auto says = [](const std::vector<std::string>& arguments) -> std::string {
    try {
      Parse(arguments);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kUsage);
      return error.what();
    } catch (const CLI::ParseError& error) {  // a usage error of main
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(says({"--calib-samples", "3"}), HasSubstr("--calib-samples requires --calib"));
  EXPECT_THAT(says({"--calib-seed", "3"}), HasSubstr("--calib-seed requires --calib"));
  EXPECT_THAT(says({"--calib", "x", "--calib-samples", "0"}), HasSubstr("0 calibration samples"));
  EXPECT_THAT(says({"--calib", "x", "--calib-samples", "-3"}), HasSubstr("--calib-samples"));
  EXPECT_THAT(says({"--calib", "x", "--calib-length", "1"}), HasSubstr("samples of 1 tokens"));
  EXPECT_THAT(says({"--calib", "x", "--calib-length", "9999999999"}), HasSubstr("at most 2147483648 tokens"));
  EXPECT_THAT(says({"--calib", "x", "--calib-policy", "random"}), HasSubstr("policy 'random' is not known"));
  EXPECT_THAT(says({"--calib"}), HasSubstr("--calib"));
  EXPECT_THAT(says({"--calib", ""}), HasSubstr("is empty"));
}

}  // namespace
}  // namespace lowbit
