// SPDX-License-Identifier: Apache-2.0
// The choice of planes, compared with one that does everything the plain way.
#include "lowbit/quant/billm_split.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "lowbit/quant/billm_loops.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

// Squared error of binarizing `values` `order` times.
double Left(std::vector<double> values, int order) {
  const auto n = static_cast<double>(values.size());
  for (int i = 0; i < order && !values.empty(); ++i) {
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
    double scale = 0;
    for (const double v : values) scale += std::abs(v - mean) / n;
    for (double& v : values) v -= mean + (v < mean ? -scale : scale);
  }
  return std::inner_product(values.begin(), values.end(), values.begin(), 0.0);
}

// Tiles of random weights, those of some columns larger, and their plain saliencies.
struct Case {
  Case(size_t rows, size_t width, uint32_t seed)
      : tiles((rows + kLanes - 1) / kLanes), weights(tiles * (width + 3) * kLanes), pivots(width) {
    const Matrix w = RandomMatrix(rows, width, seed);
    for (size_t c = 0; c < width; ++c) pivots[c] = 0.3f + 0.1f * static_cast<float>(c * 7 % 11);
    block = {weights.data(), (width + 3) * kLanes, rows, width, pivots.data()};
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < width; ++c) {
        const float value = w.view().Row(r)[c] * (c % 9 == 4 ? 3.0f : 1.0f);
        weights[r / kLanes * block.tile_stride + c * kLanes + r % kLanes] = value;
      }
    }
    saliencies.resize(rows, std::vector<double>(width));
    for (size_t r = 0; r < rows; ++r) {
      for (size_t c = 0; c < width; ++c) saliencies[r][c] = block.Saliency(r / kLanes, c, r % kLanes);
    }
  }

  // Σ over rows of the error of binarizing the values that belong to a part.
  template <class Belongs>
  double ErrorOf(int order, const Belongs& belongs) const {
    double error = 0;
    for (const std::vector<double>& row : saliencies) {
      std::vector<double> some;
      for (size_t c = 0; c < row.size(); ++c) {
        if (belongs(row[c], c)) some.push_back(row[c]);
      }
      error += Left(std::move(some), order);
    }
    return error;
  }

  std::vector<uint8_t> Salient(size_t most) const {
    std::vector<size_t> order(block.width);
    std::iota(order.begin(), order.end(), size_t{0});
    std::vector<double> sums(block.width);
    for (const std::vector<double>& row : saliencies) {
      for (size_t c = 0; c < row.size(); ++c) sums[c] += row[c];
    }
    std::ranges::stable_sort(order, [&](size_t a, size_t b) { return sums[a] > sums[b]; });
    std::vector<uint8_t> salient(block.width), best;
    double least = INFINITY;
    for (size_t k = 0; k < std::max<size_t>(1, std::min(most, block.width - 1)); ++k) {
      salient[order[k]] = 1;
      const double error = ErrorOf(2, [&](double, size_t c) { return salient[c] != 0; }) +
                           ErrorOf(2, [&](double, size_t c) { return salient[c] == 0; });
      if (error < least) {
        least = error;
        best = salient;
      }
    }
    return best;
  }

  std::vector<double> Thresholds(const std::vector<uint8_t>& salient) const {
    std::vector<double> all;
    for (const std::vector<double>& row : saliencies) {
      for (size_t c = 0; c < row.size(); ++c) all.push_back(salient[c] != 0 ? 0 : row[c]);
    }
    std::ranges::sort(all);
    std::vector<double> thresholds;
    for (size_t i = 10; i <= 90; ++i) {
      const double at = static_cast<double>(i) / 100 * static_cast<double>(all.size() - 1),
                   low = std::floor(at);
      const double from = all[static_cast<size_t>(low)], to = all[static_cast<size_t>(std::ceil(at))];
      thresholds.push_back(from + (to - from) * (at - low));
    }
    return thresholds;
  }

  double Threshold(const std::vector<uint8_t>& salient) const {
    double least = INFINITY, best = 0;
    for (const double t : Thresholds(salient)) {
      const double error = ErrorOf(1, [&](double s, size_t c) { return salient[c] == 0 && s < t; }) +
                           ErrorOf(1, [&](double s, size_t c) { return salient[c] == 0 && s >= t; });
      if (error < least * (1 - 1e-12)) {
        least = error;
        best = t;
      }
    }
    return best;
  }

  size_t tiles;
  std::vector<float> weights, pivots;
  BillmBlock block;
  std::vector<std::vector<double>> saliencies;
};

TEST(BillmSplit, IsTheOneOfAPlainSearch) {
  constexpr std::pair<size_t, size_t> kSizes[] = {{1, 1},   {1, 2},   {3, 9},   {64, 50},
                                                  {65, 51}, {1, 128}, {130, 9}, {66, 128}};
  for (const auto& [rows, width] : kSizes) {
    for (const size_t most : {size_t{3}, width == 128 && rows > 1 ? size_t{12} : kBillmMostSalient}) {
      SCOPED_TRACE(fmt::format("{} rows of {}, at most {}", rows, width, most));
      const Case c(rows, width, static_cast<uint32_t>(rows + width));
      const BillmSplit got = SplitBlock(c.block, most, Threads(2));
      EXPECT_EQ(got.salient, c.Salient(most));
      EXPECT_NEAR(got.threshold, c.Threshold(got.salient), 1e-12);
    }
  }
}

TEST(BillmSplit, ThresholdsAreQuantilesOfAllSaliencies) {
  for (const size_t rows : {1, 65, 200}) {
    for (const size_t width : {1, 8, 128}) {
      Case c(rows, width, 9);
      // Numbers that are the same, far apart, 0.
      for (size_t i = 0; i < c.weights.size(); i += 3) c.weights[i] = 0.5f;
      for (size_t i = 0; i < c.weights.size(); i += 7) c.weights[i] *= 1e-12f;
      for (size_t i = 0; i < c.weights.size(); i += 11) c.weights[i] = 0;
      for (size_t r = 0; r < rows; ++r) {
        for (size_t j = 0; j < width; ++j) c.saliencies[r][j] = c.block.Saliency(r / kLanes, j, r % kLanes);
      }
      for (const size_t salient : {size_t{0}, width / 2, width}) {
        std::vector<uint8_t> flags(width);
        std::fill_n(flags.begin(), salient, uint8_t{1});
        const std::vector<double> got = BillmThresholds(c.block, flags, Threads(3)),
                                  want = c.Thresholds(flags);
        ASSERT_EQ(got.size(), 81u);
        for (size_t i = 0; i < got.size(); ++i) EXPECT_DOUBLE_EQ(got[i], want[i]) << i;
      }
    }
  }
}

TEST(BillmLoops, AddWhatTwoBinarizationsLeaveOnEveryTargetTheSame) {
  for (const size_t count : {0, 1, 2, 3, 17, 128}) {
    const Matrix values = RandomMatrix(std::max<size_t>(count, 1), kLanes, 31);
    std::vector<double> v(values.data(), values.data() + values.rows() * kLanes);
    std::vector<double> fast(kLanes, 0.5), plain(kLanes, 0.5);
    LoopsOfBillm().add_residuals(v.data(), count, fast.data());
    BaselineLoopsOfBillm().add_residuals(v.data(), count, plain.data());
    EXPECT_EQ(fast, plain) << LoopsOfBillm().target;
    for (size_t r = 0; r < kLanes; ++r) {
      std::vector<double> lane;
      for (size_t c = 0; c < count; ++c) lane.push_back(v[c * kLanes + r]);
      EXPECT_NEAR(fast[r], 0.5 + Left(lane, 2), 1e-10) << count;
    }
  }
}

}  // namespace
}  // namespace lowbit
