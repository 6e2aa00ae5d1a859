// SPDX-License-Identifier: Apache-2.0
// A checkpoint that somebody cuts, writes to or replaces while lowbit uses it: either the numbers and files of
// a run that nobody disturbed, or an error that names the file. Never a signal, never another number.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

#include "lowbit/base/files.h"
#include "lowbit/base/json.h"
#include "tests/program.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::RunLowbit;
using test::TempFolder;

const std::string kDemo = std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3";
constexpr int kRounds = 8;
constexpr int kContent = 3;

class CutFileTest : public testing::Test {
 protected:
  CutFileTest() {
    fs::create_directories(folder_ / "model");
    for (const char* name : {"config.json", "tokenizer.json"})
      fs::copy_file(kDemo + "/" + name, folder_ / ("model/" + std::string(name)));
    Restore();
    std::ofstream(folder_ / "text.txt")
        << "What does every bit cost? A short text with a few words. " << std::string(800, 'x');
  }

  void Restore() const {
    fs::copy_file(kDemo + "/model.safetensors", weights_, fs::copy_options::overwrite_existing);
  }

  // Runs lowbit, and `disturb` after a part of the time that it takes undisturbed.
  Outcome RunAndDisturb(const std::vector<std::string>& arguments, int round,
                        const std::function<void()>& disturb) const {
    const auto delay = undisturbed_ * (round + 1) / (kRounds + 1);
    std::thread other([&] {
      std::this_thread::sleep_for(delay);
      disturb();
    });
    Outcome outcome = RunLowbit(arguments);
    other.join();
    return outcome;
  }

  Outcome RunUndisturbed(const std::vector<std::string>& arguments) {
    const auto start = std::chrono::steady_clock::now();
    Outcome outcome = RunLowbit(arguments);
    undisturbed_ = std::chrono::steady_clock::now() - start;
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return outcome;
  }

  void ExpectErrorAboutTheWeights(const Outcome& outcome) const {
    EXPECT_EQ(outcome.exit_code, kContent) << outcome.err;
    EXPECT_THAT(outcome.err, testing::HasSubstr("\"file\":\"" + weights_ + "\""));
    EXPECT_EQ(outcome.out, "");
  }

  const TempFolder folder_{"cut"};
  const std::string weights_ = folder_ / "model/model.safetensors";
  std::chrono::steady_clock::duration undisturbed_{};
};

std::string Perplexity(const Outcome& outcome) {
  return ParseJson(outcome.out, Place("stdout"))["results"][0]["measurements"].dump();
}

TEST_F(CutFileTest, EvalGivesTheRightNumberOrAnError) {
  const std::vector<std::string> eval = {
      "eval", folder_ / "model", "--tasks", "text:" + (folder_ / "text.txt"), "--window", "16", "--json"};
  const std::string right = Perplexity(RunUndisturbed(eval));
  int errors = 0;
  for (int round = 0; round < kRounds; ++round) {
    SCOPED_TRACE(round);
    Restore();
    const Outcome outcome = RunAndDisturb(eval, round, [&] {
      fs::resize_file(weights_, static_cast<uintmax_t>(round) * 1'000'000);
      if (round % 2 == 1) Restore();  // whole again before anyone looks
    });
    if (outcome.exit_code == 0) {
      EXPECT_EQ(Perplexity(outcome), right);
    } else {
      ExpectErrorAboutTheWeights(outcome);
      ++errors;
    }
  }
  EXPECT_GT(errors, 0);
}

TEST_F(CutFileTest, EvalGoesOnWithAFileThatWasRenamedOver) {
  const std::vector<std::string> eval = {
      "eval", folder_ / "model", "--tasks", "text:" + (folder_ / "text.txt"), "--window", "16", "--json"};
  const std::string right = Perplexity(RunUndisturbed(eval));
  for (int round = 1; round < kRounds; round += 3) {
    Restore();
    const Outcome outcome = RunAndDisturb(eval, round, [&] { WriteFileAtomic(weights_, "another file"); });
    if (outcome.exit_code == 0) {
      EXPECT_EQ(Perplexity(outcome), right);
    } else {
      ExpectErrorAboutTheWeights(outcome);  // it was opened after that
    }
  }
}

TEST_F(CutFileTest, QuantizeLeavesNoWrongLayer) {
  const auto quantize = [&](const std::string& out) {
    return std::vector<std::string>{"quantize", folder_ / "model", "rtn-w4-g32:head=w8-g64",
                                    "-o",       folder_ / out,     "--json"};
  };
  RunUndisturbed(quantize("right"));
  const auto expect_right_layers = [&](const std::string& out) {
    for (const auto& entry : fs::directory_iterator(folder_ / out)) {
      const std::string name = entry.path().filename().string();
      if (!name.ends_with(".safetensors")) continue;
      EXPECT_EQ(ReadFile(entry.path()), ReadFile(folder_ / ("right/" + name))) << name;
    }
  };
  int errors = 0;
  for (int round = 0; round < kRounds; round += 2) {
    SCOPED_TRACE(round);
    Restore();
    fs::remove_all(folder_ / "out");
    const Outcome outcome = RunAndDisturb(quantize("out"), round, [&] {
      fs::resize_file(weights_, static_cast<uintmax_t>(kRounds - round) * 500'000);
    });
    if (fs::exists(folder_ / "out")) expect_right_layers("out");
    if (outcome.exit_code == 0) continue;
    ++errors;
    ExpectErrorAboutTheWeights(outcome);
    EXPECT_FALSE(fs::exists(folder_ / "out/lowbit.json"));
    Restore();
    EXPECT_EQ(RunLowbit(quantize("out")).exit_code, 0);
    expect_right_layers("out");
  }
  EXPECT_GT(errors, 0);
}

}  // namespace
}  // namespace lowbit
