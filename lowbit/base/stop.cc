// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/stop.h"

#include <signal.h>
#include <time.h>

#include <atomic>
#include <cerrno>
#include <cstdint>

namespace lowbit {
namespace {

// `timeout`, shells and closing terminals send one request twice: what follows within this time is the same.
constexpr int64_t kSameRequestMilliseconds = 500;

std::atomic<int> stop_signal{0};
std::atomic<int64_t> stop_time{0};
static_assert(std::atomic<int>::is_always_lock_free && std::atomic<int64_t>::is_always_lock_free,
              "a signal handler may use nothing else");

int64_t Milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return int64_t{now.tv_sec} * 1000 + now.tv_nsec / 1'000'000;
}

void OnSignal(int signal) {
  const int saved_errno = errno;
  int none = 0;
  if (stop_signal.compare_exchange_strong(none, signal)) {
    stop_time = Milliseconds();
  } else if (signal != SIGPIPE && Milliseconds() - stop_time > kSameRequestMilliseconds) {
    ::signal(signal, SIG_DFL);
    raise(signal);  // delivered when this handler returns
  }
  errno = saved_errno;
}

}  // namespace

void InstallStopHandlers() {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) {
    struct sigaction before {};
    if (sigaction(signal, nullptr, &before) != 0 || before.sa_handler == SIG_IGN) continue;
    struct sigaction action {};
    action.sa_handler = OnSignal;
    sigemptyset(&action.sa_mask);
    // No SA_RESTART: a command that waits for a line of stdin must wake up.
    sigaction(signal, &action, nullptr);
  }
}

int StopSignal() noexcept {
  return stop_signal.load(std::memory_order_relaxed);
}

void ThrowIfStopped() {
  if (const int signal = StopSignal(); signal != 0) throw Stopped{signal};
}

std::string_view SignalName(int signal) {
  switch (signal) {
    case SIGINT:
      return "SIGINT";
    case SIGTERM:
      return "SIGTERM";
    case SIGHUP:
      return "SIGHUP";
    case SIGPIPE:
      return "SIGPIPE";
    default:
      return "a signal";
  }
}

}  // namespace lowbit
