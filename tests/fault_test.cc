// SPDX-License-Identifier: Apache-2.0
// Every call that makes a file durable, failing or killing the process: one clear line and a documented exit code,
// nothing lost, and the next run ends as if nothing had happened. fault_shim.c makes the faults.
// LOWBIT_FAULTS: how many of a command's calls are tried in each mode (default: a few, spread over all of
// them; 0 = every one).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "tests/interrupted.h"

namespace lowbit {
namespace {

using test::InterruptedSite;
using test::Job;
using test::Outcome;

struct Mode {
  const char* name;  // as the shim knows it
  int error = 0;
  bool kills = false;
};
constexpr std::array kModes = {
    Mode{"fail", ENOSPC},
    Mode{"fail", EIO},
    Mode{"fail-on", ENOSPC},
    Mode{"fail-on", EIO},
    Mode{"short"},
    Mode{"kill-before", 0, true},
    Mode{"kill-half", 0, true},
    Mode{"kill-after", 0, true},
};

class FaultTest : public testing::TestWithParam<Job> {
 protected:
  static void SetUpTestSuite() { site_ = new InterruptedSite(); }
  static void TearDownTestSuite() {
    delete site_;
    site_ = nullptr;
  }
  FaultTest() { site_->Expected(GetParam()); }

  int CountCalls() const {
    const Outcome outcome = site_->RunWith({}, site_->Prepare(GetParam()));
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    return static_cast<int>(site_->Calls().size());
  }
  static InterruptedSite* site_;
};

InterruptedSite* FaultTest::site_ = nullptr;

// Calls to try, of `count`: all of them, or some in equal steps that begin elsewhere in each mode.
std::vector<int> ChosenCalls(int count, int wanted, size_t mode) {
  std::vector<int> chosen;
  if (wanted <= 0 || wanted > count) wanted = count;
  for (int i = 0; i < wanted; ++i) {
    const double begin = static_cast<double>(mode) / kModes.size();
    chosen.push_back(1 + static_cast<int>((i + begin) * count / wanted));
  }
  return chosen;
}

TEST_P(FaultTest, NothingIsLostWhateverCallFails) {
  const int count = CountCalls();
  const int wanted = test::FromEnvironment("LOWBIT_FAULTS", GetParam() == Job::kStudy ? 6 : 2);
  ASSERT_GT(count, 3);
  int faults = 0, errors = 0, kills = 0;
  for (size_t m = 0; m < kModes.size(); ++m) {
    const Mode& mode = kModes[m];
    for (const int at : ChosenCalls(count, wanted, m)) {
      const std::vector<std::string> command = site_->Prepare(GetParam());
      const Outcome outcome = site_->RunWith({mode.name, at, mode.error}, command);
      const std::vector<std::string> calls = site_->Calls();
      const std::string call =
          static_cast<size_t>(at) <= calls.size() ? calls[static_cast<size_t>(at) - 1] : "-";
      SCOPED_TRACE(fmt::format("{} {} at call {} of {}: exit code {}\n{}", mode.name, mode.error, call, count,
                               outcome.exit_code, outcome.err));
      ++faults;
      if (mode.kills) {
        kills += outcome.exit_code == 128 + SIGKILL ? 1 : 0;
        EXPECT_TRUE(outcome.exit_code == 128 + SIGKILL || static_cast<size_t>(at) > calls.size());
      } else if (outcome.exit_code != 0) {  // some calls may fail: that of a lock's holder, of cleaning up
        ++errors;
        EXPECT_EQ(outcome.exit_code, 5);
        EXPECT_TRUE(site_->SaysWhatFailed(outcome));
      }
      size_t acknowledged = AcknowledgedCells(outcome);
      if (mode.kills) {  // and once more while it recovers
        acknowledged += AcknowledgedCells(site_->RunWith({mode.name, 1 + (at * 7) % count, 0}, command));
      }
      EXPECT_TRUE(site_->Recovers(GetParam(), command, acknowledged));
    }
  }
  std::printf("%d calls in all; %d faults: %d ended by an error, %d by a kill\n", count, faults, errors,
              kills);
  EXPECT_GT(errors, faults / 8);
  EXPECT_GT(kills, faults / 8);
}

std::string JobName(const testing::TestParamInfo<Job>& job) {
  return test::Name(job.param);
}
INSTANTIATE_TEST_SUITE_P(Jobs, FaultTest,
                         testing::Values(Job::kQuantize, Job::kSweep, Job::kStudy, Job::kReport, Job::kEval),
                         JobName);

}  // namespace
}  // namespace lowbit
