// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/threads.h"

#include <sched.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <algorithm>
#include <cstdlib>

#include "lowbit/base/error.h"
#include "lowbit/base/stop.h"

namespace lowbit {
namespace {

constexpr size_t kMaxThreads = 1024;

int CoresOfThisProcess() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return 1;
}

int CountFromEnvironment() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  if (text == nullptr) return CoresOfThisProcess();
  const int n = std::atoi(text);
  return n > 0 ? n : CoresOfThisProcess();
}

}  // namespace

struct Threads::Impl {
  explicit Impl(int count) : arena(count) {
    // TBB would cap every arena at the number of cores. Workers start only when an arena asks for them.
    static const tbb::global_control no_cap(tbb::global_control::max_allowed_parallelism, kMaxThreads);
  }
  mutable tbb::task_arena arena;
};

Threads::Threads(int count) : count_(count > 0 ? count : CountFromEnvironment()) {
  if (static_cast<size_t>(count_) > kMaxThreads) {
    throw Error(ErrorKind::kUsage,
                fmt::format("{} threads asked for, expected at most {}", count_, kMaxThreads));
  }
  impl_ = std::make_unique<Impl>(count_);
}
Threads::~Threads() = default;

void Threads::For(size_t n, const std::function<void(size_t)>& body) const {
  ForSlots(n, [&](size_t i, size_t) { body(i); });
}

void Threads::ForSlots(size_t n, const std::function<void(size_t, size_t)>& body) const {
  if (n == 0) return;
  if (count_ == 1) {  // on the calling thread, whichever pool that belongs to
    for (size_t i = 0; i < n; ++i) body(i, 0);
    return;
  }
  impl_->arena.execute([&] {
    tbb::parallel_for(
        tbb::blocked_range<size_t>(0, n, 1),
        [&](const tbb::blocked_range<size_t>& range) {
          const auto slot = static_cast<size_t>(tbb::this_task_arena::current_thread_index());
          for (size_t i = range.begin(); i < range.end(); ++i) {
            ThrowIfStopped();
            body(i, slot);
          }
        },
        tbb::simple_partitioner());
  });
}

}  // namespace lowbit
