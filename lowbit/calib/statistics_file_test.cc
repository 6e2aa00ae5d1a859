// SPDX-License-Identifier: Apache-2.0
#include "lowbit/calib/statistics_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <limits>

#include "lowbit/base/test_folder.h"
#include "lowbit/calib/statistics_testing.h"
#include "lowbit/checkpoint/safetensors.h"

namespace lowbit {
namespace {

using calib_testing::ExpectSame;
using calib_testing::SomeOrigin;
using testing::HasSubstr;

InputStatistics Tap(size_t tokens, size_t width, bool with_gram, size_t samples, uint64_t first = 0) {
  static const Threads threads(1);
  static const std::unique_ptr<Backend> backend = MakeBackend("ref", "f32", threads);
  InputStatistics tap(width, with_gram, samples, first);
  if (tokens > 0) tap.Add(*backend, RandomMatrix(tokens, width, static_cast<uint32_t>(width)).view());
  return tap;
}

// Two layers, the second a mixture of three experts, of which one saw nothing and one has no tap.
ModelStatistics Some() {
  ModelStatistics s;
  s.origin = SomeOrigin();
  s.taps.emplace("model.layers.0.attn_in", Tap(700, 24, true, 8));
  s.taps.emplace("model.layers.0.mlp_mid", Tap(700, 7, true, 0));
  s.taps.emplace("model.layers.1.mlp_in", Tap(700, 24, false, 5, 64));
  s.taps.emplace("model.layers.1.mlp_mid.0", Tap(300, 5, true, 4));
  s.taps.emplace("model.layers.1.mlp_mid.1", Tap(0, 5, true, 4));
  s.expert_tokens["model.layers.1."] = {300, 0, 11};
  return s;
}

TEST(StatisticsFile, ComesBackBitForBit) {
  const TestFolder folder;
  const ModelStatistics s = Some();
  const std::string path = folder.File("s.safetensors");
  const std::string hash = WriteStatistics(path, s);
  EXPECT_EQ(hash.size(), 64u);
  const ModelStatistics read = ReadStatistics(path);
  EXPECT_EQ(read.origin, s.origin);
  EXPECT_EQ(read.expert_tokens, s.expert_tokens);
  ASSERT_EQ(read.taps.size(), s.taps.size());
  for (const auto& [name, tap] : s.taps) {
    SCOPED_TRACE(name);
    ExpectSame(read.taps.at(name), tap);
  }
  // Written again: the same bytes.
  const std::string again = folder.File("again.safetensors");
  EXPECT_EQ(WriteStatistics(again, read), hash);
  EXPECT_EQ(ReadFile(again), ReadFile(path));
}

TEST(StatisticsFile, WhatIsReadMergesLikeWhatWasWritten) {
  const TestFolder folder;
  const auto part = [](uint64_t first) {
    ModelStatistics s;
    s.origin = SomeOrigin();
    s.taps.emplace("model.layers.0.attn_in", Tap(700, 24, true, 8, first));
    return s;
  };
  const std::string path = folder.File("s.safetensors"), next = folder.File("next.safetensors");
  WriteStatistics(path, part(0));
  WriteStatistics(next, part(700));
  ModelStatistics read = ReadStatistics(path), kept = part(0);
  read.Merge(ReadStatistics(next));
  kept.Merge(part(700));
  ExpectSame(read.taps.at("model.layers.0.attn_in"), kept.taps.at("model.layers.0.attn_in"));
}

TEST(StatisticsFile, WithoutGramsTheRestIsThere) {
  const TestFolder folder;
  const ModelStatistics s = Some();
  const std::string path = folder.File("s.safetensors");
  WriteStatistics(path, s);
  const ModelStatistics read = ReadStatistics(path, ReadGrams::kNo);
  for (const auto& [name, tap] : read.taps) {
    EXPECT_EQ(tap.gram.size(), 0u);
    EXPECT_EQ(tap.sum_abs, s.taps.at(name).sum_abs);
    EXPECT_EQ(tap.max_abs, s.taps.at(name).max_abs);
  }
}

TEST(StatisticsFile, TensorsLieAsDocumented) {
  const TestFolder folder;
  const ModelStatistics s = Some();
  const std::string path = folder.File("s.safetensors");
  WriteStatistics(path, s);
  const SafetensorsFile file(path);
  const InputStatistics& tap = s.taps.at("model.layers.0.mlp_mid");
  const TensorView gram = file.Get("model.layers.0.mlp_mid.gram");
  EXPECT_EQ(gram.shape, (Shape{28, 8}));
  double value = 0;
  std::memcpy(&value, gram.bytes.data() + 8 * (7 + 6 + 2), 8);  // rows 0 and 1 have 7 and 6 elements
  EXPECT_EQ(value, tap.gram[2 * 7 + 4]);
  EXPECT_EQ(file.Find("model.layers.1.mlp_in.gram"), nullptr);
  EXPECT_EQ(file.Find("model.layers.0.mlp_mid.samples"), nullptr);
  EXPECT_EQ(file.Get("model.layers.1.mlp_in.samples").shape, (Shape{5, 24}));  // of 64 … 763: 128, 256 … 640
}

TEST(StatisticsFile, WhatIsNotFiniteIsNotWritten) {
  const TestFolder folder;
  ModelStatistics s = Some();
  s.taps.at("model.layers.0.mlp_mid").gram[3] = std::numeric_limits<double>::quiet_NaN();
  const std::string path = folder.File("s.safetensors");
  try {
    WriteStatistics(path, s);
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kNumeric);
    EXPECT_THAT(error.what(), HasSubstr("model.layers.0.mlp_mid: channel 0"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(StatisticsFile, WithoutAnOriginNothingIsWritten) {
  const TestFolder folder;
  const std::string path = folder.File("s.safetensors");
  const auto refused = [&](const std::function<void(StatisticsOrigin&)>& edit) {
    ModelStatistics s = Some();
    edit(s.origin);
    EXPECT_THROW(WriteStatistics(path, s), Error);
    EXPECT_FALSE(std::filesystem::exists(path));
  };
  refused([](auto& o) { o.calibration.clear(); });
  refused([](auto& o) { o.weights = "short"; });
  refused([](auto& o) { o.code_version.clear(); });
  refused([](auto& o) { o.tokens = 699; });  // a tap saw 700
}

TEST(StatisticsFile, AnotherOriginIsAConflictThatNamesIt) {
  const StatisticsOrigin mine = SomeOrigin();
  RequireOrigin(mine, mine, "s");
  const auto error_of = [&](const std::function<void(StatisticsOrigin&)>& edit) -> std::string {
    StatisticsOrigin other = mine;
    edit(other);
    try {
      RequireOrigin(mine, other, "s");
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kConflict);
      return error.what();
    }
    return "accepted";
  };
  EXPECT_THAT(error_of([](auto& o) { o.calibration = "c"; }), HasSubstr("key 'calibration': is aaaa"));
  EXPECT_THAT(error_of([](auto& o) { o.weights = "w"; }), HasSubstr("key 'weights'"));
  EXPECT_THAT(error_of([](auto& o) { o.code_version = "v"; }), HasSubstr("key 'code_version'"));
  EXPECT_THAT(error_of([](auto& o) { o.tokens = 1; }), HasSubstr("key 'tokens': is 5000, expected 1"));
}

TEST(StatisticsFile, OtherFilesAreNoStatistics) {
  const TestFolder folder;
  EXPECT_THROW(ReadStatistics(folder.path()), Error);
  EXPECT_THROW(ReadStatistics(folder.File("none")), Error);
  EXPECT_THROW(ReadStatistics(folder.Write("text", "text")), Error);
  EXPECT_THROW(ReadStatistics(LOWBIT_TESTDATA "/models/tiny-qwen3/model.safetensors"), Error);
}

}  // namespace
}  // namespace lowbit
