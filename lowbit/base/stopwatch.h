// SPDX-License-Identifier: Apache-2.0
// How long something takes, by a clock that nobody sets.
#pragma once

#include <algorithm>
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

// The shortest of three runs, of fewer once they have taken half a second: other work on the machine makes a run
// longer, never shorter.
template <class F>
double LeastSecondsOf(const F& body) {
  const Stopwatch watch;
  double least = SecondsOf(body);
  for (int more = 2; more > 0 && watch.Seconds() < 0.5; --more) least = std::min(least, SecondsOf(body));
  return least;
}

}  // namespace lowbit
