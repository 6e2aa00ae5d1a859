// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/blas.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>
#include <vector>

#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

// OpenBLAS without threads got a few in ten thousand of these wrong.
TEST(Blas, IsSafeToCallFromSeveralThreads) {
  constexpr size_t kSize = 64;
  constexpr int kThreads = 4, kCalls = 10000;
  const Matrix a = RandomMatrix(kSize, kSize, 1), b = RandomMatrix(kSize, kSize, 2);
  const auto product = [&](std::vector<float>& c) {
    std::fill(c.begin(), c.end(), 0.0f);
    blas::SubtractOfTransposed(kSize, kSize, kSize, a.data(), kSize, b.data(), kSize, c.data(), kSize);
  };
  std::vector<float> alone(kSize * kSize);
  product(alone);
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      std::vector<float> c(kSize * kSize);
      for (int i = 0; i < kCalls; ++i) {
        product(c);
        if (std::memcmp(c.data(), alone.data(), c.size() * sizeof(float)) != 0) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
}

}  // namespace
}  // namespace lowbit
