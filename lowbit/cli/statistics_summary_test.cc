// SPDX-License-Identifier: Apache-2.0
#include "lowbit/cli/statistics_summary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/test_folder.h"
#include "lowbit/calib/statistics_file.h"
#include "lowbit/calib/statistics_testing.h"
#include "lowbit/cli/commands.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Four channels: quiet, dead, one of four times the median, and one more.
InputStatistics Tap(size_t width = 4) {
  static const Threads threads(1);
  static const std::unique_ptr<Backend> backend = MakeBackend("ref", "f32", threads);
  Matrix rows(2, 4);
  const std::vector<float> values = {1, 0, -8, 3, -1, 0, 4, 3};
  std::copy(values.begin(), values.end(), rows.data());
  InputStatistics tap(width, true, 8);
  tap.Add(*backend, MatView<const float>(rows.data(), 2, width, 4));
  return tap;
}

ModelStatistics Some() {
  ModelStatistics s;
  s.origin = calib_testing::SomeOrigin(2);
  for (const char* name : {"model.layers.10.attn_in", "model.layers.2.mlp_mid.10", "model.layers.2.mlp_mid.9",
                           "model.layers.2.attn_in"}) {
    s.taps.emplace(name, Tap());
  }
  s.expert_tokens["model.layers.2."] = {2, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2};
  return s;
}

TEST(StatisticsSummary, NumbersAreThoseOfTheRows) {
  const TapSummary tap = Summarize(Some())[0];
  EXPECT_EQ(tap.width, 4u);
  EXPECT_EQ(tap.tokens, 2u);
  EXPECT_EQ(tap.max_abs, 8.0);
  EXPECT_EQ(tap.mean_abs, (1.0 + 0 + 6 + 3) / 4);
  EXPECT_EQ(tap.channel_ratio, 8.0 / 2);  // maxima 1, 0, 8, 3: the median is 2
  EXPECT_EQ(tap.dead_channels, 1u);
  EXPECT_EQ(tap.sample_rows, 2u);

  ModelStatistics s;
  s.taps.emplace("odd", Tap(3));
  EXPECT_EQ(Summarize(s)[0].channel_ratio, 8.0 / 1);
  s.taps.clear();
  s.taps.emplace("unseen", InputStatistics(4));
  EXPECT_EQ(Summarize(s)[0].channel_ratio, std::nullopt);
  EXPECT_EQ(Summarize(s)[0].dead_channels, 4u);
}

TEST(StatisticsSummary, TapsStandInTheOrderOfTheModel) {
  std::vector<std::string> names;
  for (const TapSummary& tap : Summarize(Some())) names.push_back(tap.name);
  EXPECT_THAT(names, ElementsAre("model.layers.2.attn_in", "model.layers.2.mlp_mid.9",
                                 "model.layers.2.mlp_mid.10", "model.layers.10.attn_in"));
}

std::string Inspected(const std::string& arguments) {
  CLI::App app;
  AddInspectCommand(app);
  ::testing::internal::CaptureStdout();
  try {
    app.parse("inspect " + arguments);
  } catch (...) {
    ::testing::internal::GetCapturedStdout();
    throw;
  }
  return ::testing::internal::GetCapturedStdout();
}

TEST(InspectStatistics, TableAndJsonSayTheSame) {
  const TestFolder folder;
  const std::string path = folder.File("s.safetensors");
  WriteStatistics(path, Some());
  const std::string text = Inspected(path);
  EXPECT_THAT(text, HasSubstr("calibration set " + std::string(64, 'a')));
  EXPECT_THAT(text, HasSubstr("max/median"));
  EXPECT_THAT(text, testing::ContainsRegex("model.layers.2.mlp_mid.9 +4 +2 +8 +2.5 +4 +1\n"));
  EXPECT_THAT(text, HasSubstr("model.layers.2. 11 experts, 0 to 2 tokens each, 8 with none"));
  const Json json = Json::parse(Inspected(path + " --json"));
  EXPECT_EQ(json.at("tokens"), 2);
  EXPECT_EQ(json.at("taps").size(), 4u);
  EXPECT_EQ(json.at("taps").at(0).at("name"), "model.layers.2.attn_in");
  EXPECT_EQ(json.at("taps").at(0).at("channel_ratio"), 4.0);
  EXPECT_EQ(json.at("taps").at(0).at("dead_channels"), 1);
  EXPECT_EQ(json.at("expert_tokens").at("model.layers.2.").at(9), 2);
}

TEST(InspectStatistics, OtherFilesAndFlagsAreRefused) {
  const TestFolder folder;
  const std::string path = folder.File("s.safetensors");
  WriteStatistics(path, Some());
  EXPECT_THROW(Inspected(path + " --tensors"), Error);
  try {
    Inspected(LOWBIT_TESTDATA "/models/tiny-qwen3/model.safetensors");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kContent);
    EXPECT_THAT(error.what(), HasSubstr("expected a file of statistics"));
  }
}

}  // namespace
}  // namespace lowbit
