// SPDX-License-Identifier: Apache-2.0
// How long something takes, by a clock that nobody sets.
#pragma once

#include <chrono>

namespace lowbit {

class Stopwatch {
 public:
  double Seconds() const {  // since it was made
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

template <class F>
double SecondsOf(const F& body) {
  const Stopwatch watch;
  body();
  return watch.Seconds();
}

}  // namespace lowbit
