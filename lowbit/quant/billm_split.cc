// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/billm_split.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

#include "lowbit/quant/billm_loops.h"
#include "lowbit/tensor/buffer.h"

namespace lowbit {
namespace {

constexpr size_t kThresholds = 81;

// Saliencies of a tile's columns `columns`, one after the other: [columns, kLanes].
void FillSaliencies(const BillmBlock& block, size_t tile, std::span<const uint32_t> columns, double* out) {
  for (const uint32_t c : columns) {
    const float* w = block.weights + tile * block.tile_stride + c * kLanes;
    const auto d = static_cast<double>(block.pivots[c]);
    for (size_t r = 0; r < kLanes; ++r)
      out[r] = static_cast<double>(w[r]) * static_cast<double>(w[r]) / (d * d);
    out += kLanes;
  }
}

std::vector<uint32_t> Natural(size_t width) {
  std::vector<uint32_t> columns(width);
  std::iota(columns.begin(), columns.end(), 0u);
  return columns;
}

// Σ over tiles of the `count` numbers that fill(tile, slot, numbers) adds to, tile after tile.
template <class Fill>
std::vector<double> SumOverTiles(const BillmBlock& block, size_t count, const Threads& threads,
                                 const Fill& fill) {
  std::vector<double> of_tiles(block.tiles() * count);
  threads.ForSlots(block.tiles(), [&](size_t tile, size_t slot) {
    fill(tile, slot, std::span(of_tiles).subspan(tile * count, count));
  });
  std::vector<double> sums(count);
  for (size_t i = 0; i < of_tiles.size(); ++i) sums[i % count] += of_tiles[i];
  return sums;
}

// Scratch memory for a tile's saliencies, by slot.
class TileScratch {
 public:
  TileScratch(const BillmBlock& block, const Threads& threads)
      : size_(block.width * kLanes), of_slots_(static_cast<size_t>(threads.count())) {}
  double* Of(size_t slot) {
    if (of_slots_[slot].size() == 0) of_slots_[slot] = Buffer<double>(size_);
    return of_slots_[slot].data();
  }

 private:
  size_t size_;
  std::vector<Buffer<double>> of_slots_;
};

size_t FirstOfSmallest(std::span<const double> errors) {
  return static_cast<size_t>(std::ranges::min_element(errors) - errors.begin());
}

// Columns with the largest sums of saliencies first; of equal ones the first.
std::vector<uint32_t> BySaliency(const BillmBlock& block, TileScratch& scratch, const Threads& threads) {
  std::vector<uint32_t> columns = Natural(block.width);
  const std::vector<double> sums =
      SumOverTiles(block, block.width, threads, [&](size_t tile, size_t slot, std::span<double> of_columns) {
        double* s = scratch.Of(slot);
        FillSaliencies(block, tile, columns, s);
        for (size_t c = 0; c < block.width; ++c, s += kLanes) {
          for (size_t r = 0; r < kLanes; ++r) of_columns[c] += s[r];
        }
      });
  std::ranges::stable_sort(columns, [&](uint32_t a, uint32_t b) { return sums[a] > sums[b]; });
  return columns;
}

// How many of the first columns are salient: with both parts binarized twice, what is left is the least.
size_t CountSalient(const BillmBlock& block, std::span<const uint32_t> columns, size_t most,
                    TileScratch& scratch, const Threads& threads) {
  const std::vector<double> errors =
      SumOverTiles(block, most, threads, [&](size_t tile, size_t slot, std::span<double> of_counts) {
        double* s = scratch.Of(slot);
        FillSaliencies(block, tile, columns, s);
        for (size_t k = 1; k <= most; ++k) {
          double of_rows[kLanes] = {};
          LoopsOfBillm().add_residuals(s, k, of_rows);
          LoopsOfBillm().add_residuals(s + k * kLanes, block.width - k, of_rows);
          for (const double error : of_rows) of_counts[k - 1] += error;
        }
      });
  return FirstOfSmallest(errors) + 1;
}

// Σ over one row, ascending, of (s - b(s))², b the binarization of those below a threshold and of the others.
// Thresholds come ascending: then both means grow, and who lies above them is found without looking back.
class SplitRow {
 public:
  explicit SplitRow(std::vector<double>& sorted) : s_(sorted), sums_(sorted.size() + 1) {
    std::ranges::sort(s_);
    for (size_t i = 0; i < s_.size(); ++i) {
      sums_[i + 1] = sums_[i] + s_[i];
      squares_ += s_[i] * s_[i];
    }
    error_ = squares_ - Kept(0, s_.size(), above_tail_);
  }

  double ErrorAt(double threshold) {
    const size_t before = below_;
    while (below_ < s_.size() && s_[below_] < threshold) ++below_;
    if (below_ != before)
      error_ = squares_ - Kept(0, below_, above_centre_) - Kept(below_, s_.size(), above_tail_);
    return error_;
  }

 private:
  // n (mean² + scale²) of the values [begin, end): what binarization keeps of their squares.
  double Kept(size_t begin, size_t end, size_t& above) const {
    if (begin == end) return 0;
    const auto n = static_cast<double>(end - begin);
    const double sum = sums_[end] - sums_[begin], mean = sum / n;
    above = std::max(above, begin);
    while (above < end && s_[above] < mean) ++above;
    const double distance = (sums_[end] - sums_[above]) - mean * static_cast<double>(end - above) -
                            ((sums_[above] - sums_[begin]) - mean * static_cast<double>(above - begin));
    return (sum * sum + distance * distance) / n;
  }

  std::vector<double>& s_;
  std::vector<double> sums_;  // of the first i
  double squares_ = 0, error_ = 0;
  size_t below_ = 0, above_centre_ = 0, above_tail_ = 0;
};

double FindThreshold(const BillmBlock& block, const std::vector<uint8_t>& salient, TileScratch& scratch,
                     const Threads& threads) {
  const std::vector<double> thresholds = BillmThresholds(block, salient, threads);
  std::vector<uint32_t> others = Natural(block.width);
  std::erase_if(others, [&](uint32_t c) { return salient[c] != 0; });
  const std::vector<double> errors =
      SumOverTiles(block, kThresholds, threads, [&](size_t tile, size_t slot, std::span<double> sums) {
        double* s = scratch.Of(slot);
        FillSaliencies(block, tile, others, s);
        std::vector<double> of_row(others.size());
        for (size_t r = 0; r < block.RowsOf(tile); ++r) {
          for (size_t c = 0; c < others.size(); ++c) of_row[c] = s[c * kLanes + r];
          SplitRow row(of_row);
          for (size_t i = 0; i < kThresholds; ++i) sums[i] += row.ErrorAt(thresholds[i]);
        }
      });
  return thresholds[FirstOfSmallest(errors)];
}

// Buckets of non-negative numbers by size: kPerOctave to a factor of two, kBuckets in all, what is smaller in the
// first.
class Buckets {
 public:
  static constexpr int kBitsPerOctave = 10;
  static constexpr size_t kCount = size_t{1} << 16;

  explicit Buckets(double largest) : last_(Key(largest)) {}
  size_t Of(double value) const {
    const uint64_t below = last_ - Key(value);
    return below < kCount ? kCount - 1 - below : 0;
  }

 private:
  static uint64_t Key(double value) { return std::bit_cast<uint64_t>(value) >> (52 - kBitsPerOctave); }
  uint64_t last_;
};

// Some of the numbers that a block's saliencies would be if they were sorted, those of salient columns being 0:
// numbers in the same bucket as one that is asked for are sorted, the others counted.
class OrderStatistics {
 public:
  OrderStatistics(const BillmBlock& block, const std::vector<uint8_t>& salient, const Threads& threads)
      : block_(block), threads_(threads), zeros_(0), columns_(Natural(block.width)) {
    std::erase_if(columns_, [&](uint32_t c) { return salient[c] != 0; });
    zeros_ = block.rows * (block.width - columns_.size());
  }

  // Of ascending ranks.
  std::vector<double> At(std::span<const size_t> ranks) const {
    const Buckets buckets(Largest());
    const std::vector<uint32_t> counts = Count(buckets);
    std::vector<uint8_t> is_asked(Buckets::kCount);
    size_t bucket = 0, end = zeros_;  // ranks below `end` are zeros or in buckets before `bucket`
    for (const size_t rank : ranks) {
      while (rank >= end) end += counts[bucket++];
      if (bucket > 0) is_asked[bucket - 1] = 1;
    }
    const std::vector<double> sorted = SortedOf(buckets, is_asked);
    std::vector<double> values;
    size_t in_sorted = 0, first = zeros_;  // of the bucket: where it begins in `sorted`, and its first rank
    bucket = 0;
    for (const size_t rank : ranks) {
      if (rank < zeros_) {
        values.push_back(0);
        continue;
      }
      while (rank >= first + counts[bucket]) {
        in_sorted += is_asked[bucket] != 0 ? counts[bucket] : 0;
        first += counts[bucket++];
      }
      values.push_back(sorted[in_sorted + (rank - first)]);
    }
    return values;
  }

 private:
  // Calls visit(slot, saliency) for every row and column that is not salient.
  template <class Visit>
  void ForEach(const Visit& visit) const {
    threads_.ForSlots(block_.tiles(), [&](size_t tile, size_t slot) {
      double s[kLanes];
      for (const uint32_t c : columns_) {
        FillSaliencies(block_, tile, {&c, 1}, s);
        for (size_t r = 0; r < block_.RowsOf(tile); ++r) visit(slot, s[r]);
      }
    });
  }

  double Largest() const {
    std::vector<double> of_slots(static_cast<size_t>(threads_.count()));
    ForEach([&](size_t slot, double s) { of_slots[slot] = std::max(of_slots[slot], s); });
    return std::ranges::max(of_slots);
  }

  std::vector<uint32_t> Count(const Buckets& buckets) const {
    std::vector<std::vector<uint32_t>> of_slots(static_cast<size_t>(threads_.count()));
    for (std::vector<uint32_t>& counts : of_slots) counts.resize(Buckets::kCount);
    ForEach([&](size_t slot, double s) { ++of_slots[slot][buckets.Of(s)]; });
    for (size_t slot = 1; slot < of_slots.size(); ++slot) {
      for (size_t i = 0; i < Buckets::kCount; ++i) of_slots[0][i] += of_slots[slot][i];
    }
    return std::move(of_slots[0]);
  }

  std::vector<double> SortedOf(const Buckets& buckets, const std::vector<uint8_t>& is_asked) const {
    std::vector<std::vector<double>> of_slots(static_cast<size_t>(threads_.count()));
    ForEach([&](size_t slot, double s) {
      if (is_asked[buckets.Of(s)] != 0) of_slots[slot].push_back(s);
    });
    std::vector<double> sorted;
    for (const std::vector<double>& some : of_slots) sorted.insert(sorted.end(), some.begin(), some.end());
    std::ranges::sort(sorted);
    return sorted;
  }

  const BillmBlock& block_;
  const Threads& threads_;
  size_t zeros_;
  std::vector<uint32_t> columns_;
};

}  // namespace

std::vector<double> BillmThresholds(const BillmBlock& block, const std::vector<uint8_t>& salient,
                                    const Threads& threads) {
  const size_t last = block.rows * block.width - 1;
  std::vector<size_t> ranks;
  std::vector<double> between;
  for (size_t i = 0; i < kThresholds; ++i) {
    const double at = static_cast<double>(10 + i) / 100 * static_cast<double>(last);
    const auto rank = static_cast<size_t>(at);
    ranks.insert(ranks.end(), {rank, std::min(rank + 1, last)});
    between.push_back(at - static_cast<double>(rank));
  }
  std::vector<double> thresholds;
  // The second rank of a pair may be above the first of the next one by one place.
  std::vector<size_t> ascending = ranks;
  std::ranges::sort(ascending);
  ascending.erase(std::unique(ascending.begin(), ascending.end()), ascending.end());
  const std::vector<double> values = OrderStatistics(block, salient, threads).At(ascending);
  const auto value_at = [&](size_t rank) {
    return values[static_cast<size_t>(std::ranges::lower_bound(ascending, rank) - ascending.begin())];
  };
  for (size_t i = 0; i < kThresholds; ++i) {
    const double low = value_at(ranks[2 * i]), high = value_at(ranks[2 * i + 1]);
    thresholds.push_back(low + (high - low) * between[i]);
  }
  return thresholds;
}

BillmSplit SplitBlock(const BillmBlock& block, size_t most_salient, const Threads& threads) {
  TileScratch scratch(block, threads);
  const std::vector<uint32_t> columns = BySaliency(block, scratch, threads);
  const size_t most = std::max<size_t>(1, std::min(most_salient, block.width - 1));
  const size_t count = CountSalient(block, columns, most, scratch, threads);
  BillmSplit split;
  split.salient.resize(block.width);
  for (size_t k = 0; k < count; ++k) split.salient[columns[k]] = 1;
  split.threshold = FindThreshold(block, split.salient, scratch, threads);
  return split;
}

}  // namespace lowbit
