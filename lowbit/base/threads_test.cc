// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <thread>
#include <vector>

#include "lowbit/base/error.h"

namespace lowbit {
namespace {

TEST(Threads, EveryIndexIsVisitedExactlyOnce) {
  for (const int count : {1, 2, 3, 8}) {
    const Threads threads(count);
    EXPECT_EQ(threads.count(), count);
    for (const size_t n : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> visits(n);
      threads.For(n, [&](size_t i) { ++visits[i]; });
      for (const std::atomic<int>& v : visits) EXPECT_EQ(v, 1);
    }
  }
}

TEST(Threads, SlotIsBelowTheCountAndNeverUsedByTwoCallsAtOnce) {
  const Threads threads(4);
  std::vector<std::atomic<int>> busy(4);
  std::atomic<bool> shared{false};
  threads.ForSlots(400, [&](size_t, size_t slot) {
    ASSERT_LT(slot, 4u);
    if (busy[slot]++ != 0) shared = true;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    --busy[slot];
  });
  EXPECT_FALSE(shared);
}

TEST(Threads, ErrorOfABodyArrivesAtTheCaller) {
  for (const int count : {1, 4}) {
    const Threads threads(count);
    std::atomic<size_t> started{0};
    try {
      threads.For(100'000, [&](size_t i) {
        ++started;
        if (i == 17) throw Error(ErrorKind::kNumeric, "seventeen");
      });
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kNumeric);
      EXPECT_STREQ(e.what(), "seventeen");
    }
    EXPECT_LT(started, 100'000u) << "the rest was not stopped";
    size_t sum = 0;
    Threads(1).For(10, [&](size_t i) { sum += i; });
    EXPECT_EQ(sum, 45u) << "the pool must go on working";
  }
}

TEST(Threads, NestedCallsFinish) {
  const Threads threads(3);
  std::atomic<size_t> sum{0};
  threads.For(20, [&](size_t i) { threads.For(20, [&](size_t j) { sum += i * 20 + j; }); });
  EXPECT_EQ(sum, 400u * 399 / 2);
}

TEST(Threads, TwoPoolsMayCoexist) {
  const Threads a(2), b(5);
  std::atomic<size_t> sum{0};
  a.For(10, [&](size_t) { b.For(10, [&](size_t) { ++sum; }); });
  EXPECT_EQ(sum, 100u);
}

TEST(Threads, CountComesFromTheEnvironmentUnlessItIsGiven) {
  setenv("OMP_NUM_THREADS", "3", 1);
  EXPECT_EQ(Threads().count(), 3);
  EXPECT_EQ(Threads(2).count(), 2);
  setenv("OMP_NUM_THREADS", "nonsense", 1);
  EXPECT_GE(Threads().count(), 1);
  unsetenv("OMP_NUM_THREADS");
  EXPECT_GE(Threads().count(), 1);
}

TEST(Threads, AbsurdCountsAreRefused) {
  try {
    Threads(100'000);
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUsage);
  }
}

}  // namespace
}  // namespace lowbit
