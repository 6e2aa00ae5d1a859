// SPDX-License-Identifier: Apache-2.0
// A pool of worker threads (oneTBB). Work is cut into fixed pieces by the caller, never by the pool,
// so that the number of threads cannot change a result.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace lowbit {

class Threads {
 public:
  // 0 = $OMP_NUM_THREADS if it is set, else every core this process may use.
  explicit Threads(int count = 0);
  ~Threads();

  int count() const { return count_; }

  // Calls body(i) for i in [0, n), in any order, on up to count() threads, and returns when all are
  // done. The first Error thrown stops the rest and is rethrown here, and so is Stopped (stop.h), which is
  // looked for before every call. Nested calls are allowed.
  void For(size_t n, const std::function<void(size_t)>& body) const;

  // As above, with body(i, slot): slot < count() is not used by two calls at once, for scratch memory.
  // The body must not start parallel work of its own: a waiting thread could enter its own slot again.
  void ForSlots(size_t n, const std::function<void(size_t, size_t)>& body) const;

 private:
  struct Impl;
  int count_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lowbit
