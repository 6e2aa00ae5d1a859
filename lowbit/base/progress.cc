// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/progress.h"

#include <fmt/format.h>

#include <atomic>
#include <cstdio>

#include "lowbit/base/human.h"
#include "lowbit/base/log.h"

namespace lowbit {
namespace {

using std::chrono::duration;
using std::chrono::steady_clock;

constexpr double kSecondsBeforeShown = 2.0;
constexpr double kSecondsBetweenFrames = 0.1;
constexpr size_t kBarWidth = 20;

std::atomic<bool> enabled{true};
std::atomic<bool> line_drawn{false};

double SecondsSince(steady_clock::time_point t) {
  return duration<double>(steady_clock::now() - t).count();
}

}  // namespace

Progress::Progress(std::string label, size_t total)
    : label_(std::move(label)), total_(total), start_(steady_clock::now()), last_drawn_(start_) {}

Progress::~Progress() {
  ClearLine();
}

void Progress::Step(std::string_view note) {
  ++done_;
  if (!enabled || !StderrIsTerminal() || SecondsSince(start_) < kSecondsBeforeShown) return;
  if (SecondsSince(last_drawn_) < kSecondsBetweenFrames && done_ < total_) return;
  Draw(note);
}

void Progress::Draw(std::string_view note) {
  last_drawn_ = steady_clock::now();
  const double elapsed = SecondsSince(start_);
  const double share = total_ == 0 ? 1.0 : static_cast<double>(done_) / static_cast<double>(total_);
  const double left = share > 0 ? elapsed / share - elapsed : 0;
  const auto filled = static_cast<size_t>(share * kBarWidth);
  const std::string bar = std::string(filled, '#') + std::string(kBarWidth - filled, '.');
  fmt::print(stderr, "\r\033[K{}: {:3.0f}%|{}| {}/{} [{}<{}] {}", label_, share * 100, bar, done_, total_,
             HumanSeconds(elapsed), HumanSeconds(left), note);
  std::fflush(stderr);
  line_drawn = true;
}

void Progress::ClearLine() {
  if (!line_drawn.exchange(false)) return;
  std::fputs("\r\033[K", stderr);
  std::fflush(stderr);
}

void Progress::SetEnabled(bool value) {
  enabled = value;
}

}  // namespace lowbit
