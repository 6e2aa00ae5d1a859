// SPDX-License-Identifier: Apache-2.0
// A disk that is full, for real: a small tmpfs of every size from one page to what the command needs. Exit code 5
// with path and reason, what was there before stays, and once there is room the next run ends as if
// nothing had happened. LOWBIT_FAULTS: how many sizes at most (default 6; 0 = every page).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <map>

#include "lowbit/base/files.h"
#include "tests/interrupted.h"

namespace lowbit {
namespace {

using test::InterruptedSite;
using test::Job;
using test::Outcome;
using testing::AnyOf;
using testing::HasSubstr;

constexpr int kPage = 4096;
constexpr int kMostPages = 400;

// A mount table of this process's own, so that nothing stays mounted. False where the kernel does not allow it.
bool EnterMountNamespace() {
  static const bool entered = [] {
    const auto user = getuid();
    if (unshare(CLONE_NEWNS) != 0) {
      if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
      std::ofstream("/proc/self/setgroups") << "deny";
      std::ofstream("/proc/self/uid_map") << "0 " << user << " 1";
    }
    return mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0;
  }();
  return entered;
}

class FullDisk : public testing::TestWithParam<Job> {
 protected:
  void SetUp() override {
    if (!EnterMountNamespace() || !Mount(1)) GTEST_SKIP() << "no tmpfs can be mounted here";
    Unmount();
  }
  void TearDown() override { Unmount(); }

  bool Mount(int pages, unsigned long flags = 0) {
    const std::string options = fmt::format("size={}", pages * kPage);
    return mount("tmpfs", site_.Disk().c_str(), "tmpfs", flags, options.c_str()) == 0;
  }
  void Unmount() { umount2(site_.Disk().c_str(), MNT_DETACH); }
  InterruptedSite site_;
};

TEST_P(FullDisk, EveryErrorNamesItAndTheNextRunGoesOn) {
  site_.Expected(GetParam());
  const int wanted = test::FromEnvironment("LOWBIT_FAULTS", 6);
  // About what they need in all: pages of the files, of the journal, of one temporary file.
  const std::map<Job, int> needs = {
      {Job::kStudy, 48}, {Job::kQuantize, 30}, {Job::kReport, 80}, {Job::kEval, 12}};
  const int need = needs.at(GetParam());
  const int step = wanted <= 0 ? 1 : std::max(1, need / wanted);
  int full = 0;
  for (int pages = 1;; pages += step) {
    ASSERT_LT(pages, kMostPages) << "never enough";
    ASSERT_TRUE(Mount(GetParam() == Job::kReport ? pages + 1 : pages));  // an old report has a page
    const std::vector<std::string> command = site_.Prepare(GetParam());
    const Outcome outcome = test::RunLowbit(command);
    SCOPED_TRACE(fmt::format("{} pages, exit code {}:\n{}", pages, outcome.exit_code, outcome.err));
    if (outcome.exit_code == 0) break;
    ++full;
    EXPECT_EQ(outcome.exit_code, 5);
    EXPECT_TRUE(site_.SaysWhatFailed(outcome));
    EXPECT_THAT(outcome.err, AnyOf(HasSubstr("No space left on device"), HasSubstr("free on this disk")));
    EXPECT_THAT(outcome.err, HasSubstr(" free"));
    if (GetParam() == Job::kReport) {
      EXPECT_EQ(ReadFile(site_.Out() + "/report.html"), "an old report");
    }
    ASSERT_TRUE(Mount(kMostPages, MS_REMOUNT));
    EXPECT_TRUE(site_.Recovers(GetParam(), command, AcknowledgedCells(outcome)));
    Unmount();
  }
  EXPECT_EQ(site_.Read(), site_.Expected(GetParam()));
  std::printf("%d sizes were too small\n", full);
  EXPECT_GT(full, 2);
}

std::string JobName(const testing::TestParamInfo<Job>& job) {
  return test::Name(job.param);
}
INSTANTIATE_TEST_SUITE_P(Jobs, FullDisk,
                         testing::Values(Job::kQuantize, Job::kStudy, Job::kReport, Job::kEval), JobName);

}  // namespace
}  // namespace lowbit
