// SPDX-License-Identifier: Apache-2.0
#include "lowbit/calib/sample_rows.h"

#include <algorithm>

namespace lowbit {
namespace {

// How many multiples of `stride` lie in [first, end).
uint64_t MultiplesIn(uint64_t first, uint64_t end, uint64_t stride) {
  const auto below = [&](uint64_t n) { return n / stride + (n % stride != 0 ? 1 : 0); };
  return below(end) - below(first);
}

}  // namespace

void SampleRows::Add(MatView<const float> rows) {
  LOWBIT_ASSERT(rows.cols == width_);
  for (size_t t = 0; most_ > 0 && t < rows.rows; ++t) {
    const uint64_t number = next_ + t;
    while (number % stride_ == 0 && kept_.size() == most_ * width_) Thin(stride_ * 2);
    if (number % stride_ == 0) kept_.insert(kept_.end(), rows.Row(t), rows.Row(t) + width_);
  }
  next_ += rows.rows;
}

// Leaves the rows whose number is a multiple of `stride`, which is one of stride_.
void SampleRows::Thin(uint64_t stride) {
  const uint64_t before = (first_ + stride_ - 1) / stride_ * stride_;  // number of the first row kept
  size_t left = 0;
  for (size_t i = 0; i * width_ < kept_.size(); ++i) {
    if ((before + i * stride_) % stride != 0) continue;
    std::copy_n(kept_.begin() + static_cast<std::ptrdiff_t>(i * width_), width_,
                kept_.begin() + static_cast<std::ptrdiff_t>(left++ * width_));
  }
  kept_.resize(left * width_);
  stride_ = stride;
}

void SampleRows::Merge(const SampleRows& part) {
  LOWBIT_ASSERT(part.first_ == next_ && part.width_ == width_ && part.most_ == most_);
  if (most_ > 0) {
    const uint64_t stride = KeptOf(most_, first_, part.next_ - first_).stride;
    SampleRows other = part;
    Thin(stride);
    other.Thin(stride);
    kept_.insert(kept_.end(), other.kept_.begin(), other.kept_.end());
  }
  next_ = part.next_;
}

SampleRows::Kept SampleRows::KeptOf(size_t most, uint64_t first, uint64_t count) {
  Kept kept;
  if (most == 0) return kept;
  while (MultiplesIn(first, first + count, kept.stride) > most) kept.stride *= 2;
  kept.rows = static_cast<size_t>(MultiplesIn(first, first + count, kept.stride));
  return kept;
}

SampleRows SampleRows::Restore(size_t width, size_t most, uint64_t first, uint64_t count,
                               std::vector<float> kept) {
  const Kept expected = KeptOf(most, first, count);
  LOWBIT_ASSERT(kept.size() == expected.rows * width);
  SampleRows rows(width, most, first);
  rows.next_ = first + count;
  rows.stride_ = expected.stride;
  rows.kept_ = std::move(kept);
  return rows;
}

}  // namespace lowbit
