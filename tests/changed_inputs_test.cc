// SPDX-License-Identifier: Apache-2.0
// An input that changes between two runs is noticed by its hash, whether the first one finished or not: exit
// code 6, a message that names it, and nothing is written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>

#include "lowbit/base/files.h"
#include "tests/interrupted.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using test::InterruptedSite;
using test::Job;
using test::Outcome;
using test::RunLowbit;
using testing::HasSubstr;

void Replace(const std::string& path, const std::string& from, const std::string& to) {
  std::string text = ReadFile(path);
  const size_t at = text.find(from);
  ASSERT_NE(at, std::string::npos) << path << " has no " << from;
  WriteFileAtomic(path, text.replace(at, from.size(), to));
}
void Append(const std::string& path, const std::string& more) {
  WriteFileAtomic(path, ReadFile(path) + more);
}

void ChangeWeights(const InterruptedSite& site) {
  const std::string path = site.Path("model/model.safetensors");
  std::string bytes = ReadFile(path);
  bytes[bytes.size() - 4] = static_cast<char>(bytes[bytes.size() - 4] ^ 1);  // the last bit of an f32
  WriteFileAtomic(path, bytes);
}
void ChangeConfig(const InterruptedSite& site) {
  Replace(site.Path("model/config.json"), "1e-06", "1e-05");
}
void ChangeTokenizer(const InterruptedSite& site) {
  Append(site.Path("model/tokenizer.json"), "\n");
}
void ChangeText(const InterruptedSite& site) {
  Append(site.Path("a.txt"), "One more.");
}
void ChangeWindow(const InterruptedSite& site) {
  Replace(site.Path("study.yaml"), "window: 32", "window: 16");
}

struct Change {
  const char* name;
  void (*make)(const InterruptedSite&);
  std::string quantize_says, study_says;  // empty: does not concern it
};

class ChangedInputs : public testing::TestWithParam<Change> {
 protected:
  // The change, then the same command once more.
  void ExpectConflict(const std::vector<std::string>& command, const std::string& says) {
    const test::Remains before = site_.Read();
    GetParam().make(site_);
    const Outcome outcome = RunLowbit(command);
    EXPECT_EQ(outcome.exit_code, says.empty() ? 0 : 6) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr(says));
    EXPECT_EQ(site_.Read(), before);
  }
  InterruptedSite site_;
};

TEST_P(ChangedInputs, AfterQuantize) {
  const std::vector<std::string> command = site_.Prepare(Job::kQuantize);
  ASSERT_EQ(RunLowbit(command).exit_code, 0);
  ExpectConflict(command, GetParam().quantize_says);
}

TEST_P(ChangedInputs, AfterAQuantizeThatWasKilled) {
  const std::string& says = GetParam().quantize_says;
  if (says.empty()) return;  // no input of quantize: it would go on
  const std::vector<std::string> command = site_.Prepare(Job::kQuantize);
  ASSERT_EQ(site_.RunWith({"kill-before", 60}, command).exit_code, 128 + SIGKILL);
  ASSERT_TRUE(fs::exists(site_.Out() + "/layer-00000.safetensors"));
  ASSERT_FALSE(fs::exists(site_.Out() + "/lowbit.json"));
  ExpectConflict(command, says);
}

TEST_P(ChangedInputs, AfterAStudy) {
  const std::vector<std::string> command = site_.Prepare(Job::kStudy);
  ASSERT_EQ(RunLowbit(command).exit_code, 0);
  ExpectConflict(command, GetParam().study_says);
}

const Change kChanges[] = {
    {"Weights", ChangeWeights, "key 'weights_hash'", "the model's weights changed (weights_hash was "},
    {"Config", ChangeConfig, "key 'config_hash'",
     "the model's config.json, the calibration, the task's window"},
    {"Tokenizer", ChangeTokenizer, "", "the tokenizer changed (tokenizer_hash was "},
    {"Text", ChangeText, "", "the text changed (text_hash was "},
    {"Window", ChangeWindow, "", "the model's config.json, the calibration, the task's window"},
};
std::string ChangeName(const testing::TestParamInfo<Change>& change) {
  return change.param.name;
}
INSTANTIATE_TEST_SUITE_P(Inputs, ChangedInputs, testing::ValuesIn(kChanges), ChangeName);

// A study that was killed in its first quantized model has no row yet that could tell: its layers do.
TEST(ChangedInputsOfAStudy, LayersOfOtherWeightsAreNotUsed) {
  InterruptedSite site;
  Replace(site.Path("study.yaml"), "[full, ", "[");
  const std::string layer = site.Out() + "/.lowbit-scratch/model/gptq-w4-g32/layer-00000.safetensors";
  std::vector<std::string> command;
  for (int at = 60; !fs::exists(layer); at += 10) {
    command = site.Prepare(Job::kStudy);
    ASSERT_EQ(site.RunWith({"kill-before", at}, command).exit_code, 128 + SIGKILL);
  }
  ChangeWeights(site);
  const Outcome outcome = RunLowbit(command);
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  const test::Remains resumed = site.Read();
  EXPECT_EQ(RunLowbit(site.Prepare(Job::kStudy)).exit_code, 0);
  EXPECT_EQ(site.Read(), resumed);
}

}  // namespace
}  // namespace lowbit
