// SPDX-License-Identifier: Apache-2.0
// A few rows of many, as they are.
#pragma once

#include <cstdint>
#include <vector>

#include "lowbit/tensor/view.h"

namespace lowbit {

// At most `most` rows of a stream, evenly spread: the rows t with t % stride() == 0, where the stride is the
// smallest power of two that leaves no more than `most`. So between most / 2 and most rows are kept of a stream
// that has more, and which ones depends on the number of rows alone: not on how they come, nor on knowing how
// many will.
class SampleRows {
 public:
  // `first`: the number of the first row in the whole stream, of which this is a part.
  explicit SampleRows(size_t width = 0, size_t most = 0, uint64_t first = 0)
      : width_(width), most_(most), first_(first), next_(first) {}

  void Add(MatView<const float> rows);

  // `part` goes on where this ends: afterwards this is as if all its rows had been added here, bit for bit.
  // Asserts that it does go on there, with the same width and most.
  void Merge(const SampleRows& part);

  size_t most() const { return most_; }
  uint64_t first() const { return first_; }
  uint64_t stride() const { return stride_; }
  MatView<const float> rows() const {
    return {kept_.data(), kept_.empty() ? 0 : kept_.size() / width_, width_};
  }

  // What Add would have kept of `count` rows from `first` on, for reading it from a file. `kept` rows of it
  // must be KeptOf(...).rows.
  struct Kept {
    uint64_t stride = 1;
    size_t rows = 0;
  };
  static Kept KeptOf(size_t most, uint64_t first, uint64_t count);
  static SampleRows Restore(size_t width, size_t most, uint64_t first, uint64_t count,
                            std::vector<float> kept);

 private:
  void Thin(uint64_t stride);

  size_t width_, most_;
  uint64_t first_, next_;
  uint64_t stride_ = 1;
  std::vector<float> kept_;
};

}  // namespace lowbit
