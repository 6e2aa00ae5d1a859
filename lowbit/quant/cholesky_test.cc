// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/cholesky.h"

#include <gtest/gtest.h>

#include <cmath>

#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

constexpr double kAbove = 123;  // what the caller keeps above the diagonal

struct Square {
  explicit Square(size_t n) : size(n), values(n * n, kAbove) {}
  MatView<double> view() { return {values.data(), size, size}; }
  double Lower(size_t i, size_t j) const { return j <= i ? values[i * size + j] : 0; }
  size_t size;
  std::vector<double> values;
};

// Random, with eigenvalues of about √n to 5 √n; lower triangle.
Square Definite(size_t n, uint32_t seed) {
  const Matrix random = RandomMatrix(n, n, seed);
  Square a(n);
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < i; ++j) a.values[i * n + j] = static_cast<double>(random.view().Row(i)[j]);
    a.values[i * n + i] = 3 * std::sqrt(static_cast<double>(n)) + 1;
  }
  return a;
}

// The textbook, one element after the other.
Square PlainCholesky(Square a) {
  const size_t n = a.size;
  for (size_t j = 0; j < n; ++j) {
    for (size_t i = j; i < n; ++i) {
      double sum = a.values[i * n + j];
      for (size_t k = 0; k < j; ++k) sum -= a.values[i * n + k] * a.values[j * n + k];
      a.values[i * n + j] = i == j ? std::sqrt(sum) : sum / a.values[j * n + j];
    }
  }
  return a;
}

constexpr size_t kSizes[] = {1, 2, 17, 192, 193, 390};  // tiles have 192

TEST(Cholesky, AgreesWithTheTextbookAndTouchesNothingAboveTheDiagonal) {
  const Threads threads(2);
  for (const size_t n : kSizes) {
    Square a = Definite(n, 1);
    const Square want = PlainCholesky(a);
    ASSERT_TRUE(CholeskyInPlace(a.view(), threads)) << n;
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) ASSERT_NEAR(a.values[i * n + j], want.values[i * n + j], 1e-11) << n;
      for (size_t j = i + 1; j < n; ++j) ASSERT_EQ(a.values[i * n + j], kAbove) << n;
    }
  }
}

TEST(Cholesky, InverseTimesTriangleIsTheIdentity) {
  const Threads threads(2);
  for (const size_t n : kSizes) {
    Square l = Definite(n, 2);
    ASSERT_TRUE(CholeskyInPlace(l.view(), threads));
    Square x = l;
    InvertLowerInPlace(x.view(), threads);
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = i + 1; j < n; ++j) ASSERT_EQ(x.values[i * n + j], kAbove) << n;
      for (size_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (size_t k = j; k <= i; ++k) sum += x.Lower(i, k) * l.Lower(k, j);
        ASSERT_NEAR(sum, i == j ? 1 : 0, 1e-11) << n << " at " << i << ", " << j;
      }
    }
  }
}

TEST(Cholesky, HasTheSameBitsForAnyNumberOfThreads) {
  const Threads one(1), five(5);
  Square a = Definite(577, 3), b = a;
  ASSERT_TRUE(CholeskyInPlace(a.view(), one) && CholeskyInPlace(b.view(), five));
  InvertLowerInPlace(a.view(), one);
  InvertLowerInPlace(b.view(), five);
  EXPECT_EQ(a.values, b.values);
}

TEST(Cholesky, SaysSoWhenAMatrixIsNotPositiveDefinite) {
  const Threads threads(2);
  for (const size_t at : {size_t{0}, size_t{100}, size_t{250}}) {
    for (const double pivot : {0.0, -1.0}) {
      Square a = Definite(251, 4);
      a.values[at * 251 + at] = pivot;
      EXPECT_FALSE(CholeskyInPlace(a.view(), threads)) << at << " " << pivot;
    }
    Square a = Definite(251, 4);
    a.values[at * 251] = NAN;
    EXPECT_FALSE(CholeskyInPlace(a.view(), threads)) << at;
  }
}

}  // namespace
}  // namespace lowbit
