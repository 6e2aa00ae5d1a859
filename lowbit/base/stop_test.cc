// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/stop.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <functional>

#include "lowbit/base/hash.h"
#include "lowbit/base/threads.h"

namespace lowbit {
namespace {

// Handlers and the flag are the whole process's: every case runs in a child. 128 + n when a signal ended it.
int ExitCodeOfChild(const std::function<int()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    InstallStopHandlers();
    _exit(body());
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

// The signal that `work` is stopped by; 0 when it ends by itself.
int SignalThatStops(const std::function<void()>& work) {
  try {
    work();
    return 0;
  } catch (const Stopped& stopped) {
    return stopped.signal;
  }
}

TEST(Stop, NobodyAskedForIt) {
  EXPECT_EQ(StopSignal(), 0);
  EXPECT_NO_THROW(ThrowIfStopped());
}

TEST(Stop, TheFirstSignalOfEachKindIsOnlyNoted) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    EXPECT_EQ(ExitCodeOfChild([&] {
                raise(signal);
                return SignalThatStops(ThrowIfStopped);
              }),
              signal);
  }
}

TEST(Stop, WorkOnThreadsAndHashingEnd) {
  EXPECT_EQ(ExitCodeOfChild([] {
              const Threads threads(3);
              std::atomic<size_t> done{0};
              const int signal = SignalThatStops([&] {
                threads.For(100'000, [&](size_t) {
                  if (++done == 10) raise(SIGTERM);
                });
              });
              return done < 50'000 ? signal : 99;
            }),
            SIGTERM);
  EXPECT_EQ(ExitCodeOfChild([] {
              raise(SIGINT);
              return SignalThatStops([] { Sha256Hex("text"); });
            }),
            SIGINT);
}

TEST(Stop, ASecondRequestEndsTheProcess) {
  EXPECT_EQ(ExitCodeOfChild([] {
              raise(SIGTERM);
              usleep(700'000);
              raise(SIGINT);
              return 0;
            }),
            128 + SIGINT);
}

TEST(Stop, TheSameRequestSentTwiceIsOne) {
  EXPECT_EQ(ExitCodeOfChild([] {
              raise(SIGTERM);
              raise(SIGTERM);
              return StopSignal();
            }),
            SIGTERM);
}

TEST(Stop, WhatTheParentIgnoresStaysIgnored) {
  signal(SIGHUP, SIG_IGN);
  EXPECT_EQ(ExitCodeOfChild([] {
              raise(SIGHUP);
              return StopSignal();
            }),
            0);
  signal(SIGHUP, SIG_DFL);
}

}  // namespace
}  // namespace lowbit
