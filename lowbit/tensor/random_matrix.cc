// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/random_matrix.h"

#include <random>

namespace lowbit {

Matrix RandomMatrix(size_t rows, size_t cols, uint32_t seed, float spread) {
  std::mt19937 rng(seed);
  std::normal_distribution<float> normal(0.0f, spread);
  Matrix m(rows, cols);
  for (size_t i = 0; i < rows * cols; ++i) m.data()[i] = normal(rng);
  return m;
}

}  // namespace lowbit
