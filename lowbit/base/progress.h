// SPDX-License-Identifier: Apache-2.0
// A progress bar with an estimate of the time left, on stderr, for work of more than two seconds.
// On a terminal one line is redrawn; elsewhere nothing is printed, so that logs stay readable.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace lowbit {

class Progress {
 public:
  // `label` says what is done, `total` how many steps it has.
  Progress(std::string label, size_t total);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // One more step is done; `note` (a layer, a file) is shown behind the bar. Called by one thread.
  void Step(std::string_view note = "");

  static void ClearLine();               // before anything else is printed to stderr
  static void SetEnabled(bool enabled);  // --quiet and --json switch it off

 private:
  void Draw(std::string_view note);
  std::string label_;
  size_t total_, done_ = 0;
  std::chrono::steady_clock::time_point start_, last_drawn_;
};

}  // namespace lowbit
