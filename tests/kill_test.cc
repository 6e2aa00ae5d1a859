// SPDX-License-Identifier: Apache-2.0
// Commands that are killed, or asked to stop, at moments spread over their whole run: the next run ends as if
// nothing had happened. LOWBIT_KILLS: how many moments each (default 6); LOWBIT_SEED: which.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <random>

#include "lowbit/base/files.h"
#include "tests/interrupted.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using std::chrono::duration;
using std::chrono::steady_clock;
using test::InterruptedSite;
using test::Job;
using test::Outcome;
using test::Program;
using testing::HasSubstr;

class KillTest : public testing::TestWithParam<Job> {
 protected:
  static void SetUpTestSuite() { site_ = new InterruptedSite(); }
  static void TearDownTestSuite() {
    delete site_;
    site_ = nullptr;
  }
  KillTest() {
    site_->Expected(GetParam());
    seconds_ = 1e9;
    for (int i = 0; i < 2; ++i) {
      command_ = site_->Prepare(GetParam());
      const auto start = steady_clock::now();
      test::RunLowbit(command_);
      seconds_ = std::min(seconds_, duration<double>(steady_clock::now() - start).count());
    }
  }

  // Starts the command and sends it `signal` at a moment of its own.
  Outcome Interrupt(int signal) {
    Program program(command_);
    usleep(static_cast<useconds_t>(std::uniform_real_distribution(0.0, seconds_)(random_) * 1e6));
    program.Send(signal);
    return program.Wait();
  }
  bool LeftATemporary() const {
    if (!fs::exists(site_->Out())) return false;
    for (const auto& entry : fs::recursive_directory_iterator(site_->Out())) {
      if (entry.path().extension() == ".tmp") return true;
    }
    return false;
  }

  static InterruptedSite* site_;
  std::vector<std::string> command_;
  double seconds_ = 0;  // of an undisturbed run
  const int moments_ = test::FromEnvironment("LOWBIT_KILLS", 6);
  std::mt19937 random_{static_cast<unsigned>(test::FromEnvironment("LOWBIT_SEED", 1))};
};

InterruptedSite* KillTest::site_ = nullptr;

TEST_P(KillTest, KilledTwiceItEndsAsIfNothingHadHappened) {
  int killed = 0, tries = 0;
  while (killed < moments_ && ++tries <= 5 * moments_) {  // a run may end before its signal
    site_->Prepare(GetParam());
    const Outcome first = Interrupt(SIGKILL);
    const Outcome second = Interrupt(SIGKILL);  // while it recovers, if it was killed
    killed += first.exit_code == 128 + SIGKILL ? 1 : 0;
    EXPECT_TRUE(site_->Recovers(GetParam(), command_, AcknowledgedCells(first) + AcknowledgedCells(second)))
        << "try " << tries;
  }
  std::printf("%d runs of %.2f s were killed under way, in %d tries\n", killed, seconds_, tries);
  EXPECT_EQ(killed, moments_);
}

TEST_P(KillTest, AskedToStopItSaysSoAndLeavesNothingHalf) {
  int stopped = 0, tries = 0;
  while (stopped < moments_ && ++tries <= 5 * moments_) {
    const int signal = std::array{SIGTERM, SIGINT, SIGHUP}[static_cast<size_t>(tries) % 3];
    site_->Prepare(GetParam());
    const Outcome outcome = Interrupt(signal);
    SCOPED_TRACE(fmt::format("try {}, signal {}:\n{}", tries, signal, outcome.err));
    if (outcome.exit_code != 0) {
      ++stopped;
      EXPECT_EQ(outcome.exit_code, 128 + signal);
      EXPECT_FALSE(LeftATemporary());
      // Before main() nobody is there to say it.
      if (fs::exists(site_->Out())) {
        EXPECT_THAT(outcome.err, HasSubstr("run the same command again to go on"));
      }
    }
    EXPECT_TRUE(site_->Recovers(GetParam(), command_, AcknowledgedCells(outcome)));
  }
  std::printf("%d runs were stopped under way, in %d tries\n", stopped, tries);
  EXPECT_EQ(stopped, moments_);
}

// Killed when all its questions were answered, and the results not yet in place.
TEST(KilledEval, TheNextRunAsksNothingAgain) {
  InterruptedSite site;
  site.Expected(Job::kEval);
  const std::vector<std::string> command = site.Prepare(Job::kEval);
  ASSERT_EQ(site.RunWith({}, command).exit_code, 0);
  const std::vector<std::string> calls = site.Calls();
  const auto last = std::ranges::find_if(calls.rbegin(), calls.rend(), [](const std::string& call) {
    return call.find("/results_") != call.npos;
  });
  const int at = static_cast<int>(calls.rend() - last);  // from 1
  site.Prepare(Job::kEval);
  ASSERT_EQ(site.RunWith({"kill-before", at}, command).exit_code, 128 + SIGKILL);
  const Outcome next = test::RunLowbit(command);
  const std::string line = "5 of 5 questions were answered before";
  const size_t first = next.err.find(line);
  ASSERT_NE(first, std::string::npos) << next.err;
  EXPECT_NE(next.err.find(line, first + 1), std::string::npos) << next.err;
  EXPECT_EQ(site.Read(), site.Expected(Job::kEval));
}

// The reader of its messages leaves before the first one.
TEST_P(KillTest, AClosedPipeEndsItWithoutAWordAndNothingIsLost) {
  site_->Prepare(GetParam());
  std::string line = "((sleep 0.2; exec '" + test::PathOfProgram() + "'";
  for (const std::string& argument : command_) line += " '" + argument + "'";
  const std::string code = site_->Path("code");
  fs::remove(code);
  ASSERT_EQ(std::system((line + " 2>&1); echo $? > '" + code + "') | true").c_str()), 0);
  for (int i = 0; i < 600 && !fs::exists(code); ++i) usleep(100'000);  // the shell waits for `true` alone
  EXPECT_TRUE(site_->Recovers(GetParam(), command_, 0));
  EXPECT_EQ(std::atoi(ReadFile(code).c_str()), 128 + SIGPIPE);
}

std::string JobName(const testing::TestParamInfo<Job>& job) {
  return test::Name(job.param);
}
INSTANTIATE_TEST_SUITE_P(Jobs, KillTest,
                         testing::Values(Job::kQuantize, Job::kSweep, Job::kStudy, Job::kEval), JobName);

}  // namespace
}  // namespace lowbit
