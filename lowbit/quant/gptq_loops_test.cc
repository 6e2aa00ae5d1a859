// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/gptq_loops.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

struct Column {
  Matrix weights = RandomMatrix(1, kLanes, 1, 3.0f), scales = RandomMatrix(1, kLanes, 2, 0.3f);
  std::vector<float> zeros = std::vector<float>(kLanes, 3), errors = std::vector<float>(kLanes);
  std::vector<uint8_t> codes = std::vector<uint8_t>(kLanes);
  std::vector<double> loss = std::vector<double>(kLanes, 0.5);

  Column() { weights.data()[5] = NAN; }
  void RoundWith(const GptqLoops& loops) {
    loops.round({.weights = weights.data(),
                 .scales = scales.data(),
                 .zeros = zeros.data(),
                 .first_code = 1,
                 .last_code = 7,
                 .pivot = 0.7f,
                 .codes = codes.data(),
                 .errors = errors.data(),
                 .loss = loss.data()});
  }
};

TEST(GptqLoops, RoundAsTheFormulaOnEveryTarget) {
  for (const GptqLoops* loops : {&LoopsOfGptq(), &BaselineLoopsOfGptq()}) {
    Column column;
    column.RoundWith(*loops);
    for (size_t r = 0; r < kLanes; ++r) {
      const float w = column.weights.data()[r], s = column.scales.data()[r];
      if (r == 5) {
        EXPECT_EQ(column.codes[r], 1);
        EXPECT_TRUE(std::isnan(column.errors[r]) && std::isnan(column.loss[r]));
        continue;
      }
      const float code = std::clamp(std::nearbyint(w / s) + 3.0f, 1.0f, 7.0f);
      const float value = s * (code - 3.0f);  // rounded before it is subtracted
      const float error = (w - value) / 0.7f;
      EXPECT_EQ(static_cast<float>(column.codes[r]), code) << loops->target << " " << r;
      EXPECT_NEAR(column.errors[r], error, 1e-6f * std::abs(w)) << loops->target << " " << r;
      EXPECT_EQ(column.loss[r],
                0.5 + static_cast<double>(column.errors[r]) * static_cast<double>(column.errors[r]));
    }
  }
}

TEST(GptqLoops, GiveTheSameBitsOnEveryTarget) {
  Column fast, plain;
  fast.RoundWith(LoopsOfGptq());
  plain.RoundWith(BaselineLoopsOfGptq());
  fast.errors[5] = plain.errors[5] = 0;  // NaN is not equal to itself
  EXPECT_EQ(fast.codes, plain.codes);
  EXPECT_EQ(fast.errors, plain.errors);

  const size_t stride = 23, columns = 17;
  const Matrix errors = RandomMatrix(16, kLanes, 3), u = RandomMatrix(16, stride, 4);
  for (const size_t count : {1, 2, 16}) {
    Matrix got = RandomMatrix(columns, kLanes, 5), want = RandomMatrix(columns, kLanes, 5);
    LoopsOfGptq().subtract(got.data(), columns, errors.data(), count, u.data(), stride);
    BaselineLoopsOfGptq().subtract(want.data(), columns, errors.data(), count, u.data(), stride);
    EXPECT_TRUE(std::equal(got.data(), got.data() + columns * kLanes, want.data())) << count;
  }
}

TEST(GptqLoops, SubtractOneErrorAfterTheOther) {
  const size_t stride = 5, columns = 3, count = 4;
  const Matrix errors = RandomMatrix(count, kLanes, 6), u = RandomMatrix(count, stride, 7);
  Matrix got = RandomMatrix(columns, kLanes, 8);
  const Matrix before = RandomMatrix(columns, kLanes, 8);
  LoopsOfGptq().subtract(got.data(), columns, errors.data(), count, u.data(), stride);
  for (size_t c = 0; c < columns; ++c) {
    for (size_t r = 0; r < kLanes; ++r) {
      double want = static_cast<double>(before.view().Row(c)[r]);
      for (size_t k = 0; k < count; ++k)
        want -= static_cast<double>(errors.view().Row(k)[r]) * static_cast<double>(u.view().Row(k)[c]);
      EXPECT_NEAR(got.view().Row(c)[r], want, 1e-5);
    }
  }
}

}  // namespace
}  // namespace lowbit
