// SPDX-License-Identifier: Apache-2.0
// Layers with their inputs, for the tests of AWQ.
#pragma once

#include <cmath>
#include <span>
#include <vector>

#include "lowbit/base/json.h"
#include "lowbit/quant/awq.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit::awq_testing {

// A bare linear and the rows that it reads.
struct Layer {
  Matrix weights;  // [out, in]
  Matrix inputs;   // [tokens, in]

  std::vector<float> MeanAbs() const {
    std::vector<float> mean(inputs.cols());
    for (size_t j = 0; j < inputs.cols(); ++j) {
      double sum = 0;
      for (size_t t = 0; t < inputs.rows(); ++t) sum += std::abs(inputs.view().Row(t)[j]);
      mean[j] = static_cast<float>(sum / static_cast<double>(inputs.rows()));
    }
    return mean;
  }

  // Upper triangle of Σ x xᵀ; what is below must not be read.
  std::vector<double> Gram() const {
    const size_t n = inputs.cols();
    std::vector<double> gram(n * n, std::nan(""));
    for (size_t i = 0; i < n; ++i) std::fill_n(gram.data() + i * n + i, n - i, 0.0);
    for (size_t t = 0; t < inputs.rows(); ++t) {
      const float* x = inputs.view().Row(t);
      for (size_t i = 0; i < n; ++i) {
        double* row = gram.data() + i * n;
        for (size_t j = i; j < n; ++j) row[j] += static_cast<double>(x[i]) * static_cast<double>(x[j]);
      }
    }
    return gram;
  }

  std::vector<float> Importance() const {
    const std::vector<double> gram = Gram();
    std::vector<float> diagonal;
    for (size_t j = 0; j < inputs.cols(); ++j)
      diagonal.push_back(static_cast<float>(gram[j * inputs.cols() + j]));
    return diagonal;
  }
};

inline Matrix Copy(const Matrix& m) {
  Matrix copy(m.rows(), m.cols());
  std::copy_n(m.data(), m.rows() * m.cols(), copy.data());
  return copy;
}

// Correlated inputs whose channels differ in size, some of them by far.
inline Layer RandomLayer(size_t rows, size_t cols, size_t tokens, uint32_t seed) {
  Layer layer{RandomMatrix(rows, cols, seed, 0.05f), RandomMatrix(tokens, cols, seed + 1000)};
  const Matrix size = RandomMatrix(1, cols, seed + 2000), common = RandomMatrix(tokens, 1, seed + 3000);
  for (size_t t = 0; t < tokens; ++t) {
    float* x = layer.inputs.view().Row(t);
    for (size_t j = 0; j < cols; ++j) {
      x[j] = (x[j] + common.data()[t]) * std::exp(size.data()[j]) * (j % 50 == 7 ? 20.0f : 1.0f);
    }
  }
  return layer;
}

// Mean of squares of what the rows of `layer` make of the change, in plain loops over double.
class DirectLoss : public ScaleLoss {
 public:
  explicit DirectLoss(const Layer& layer) : layer_(layer) {}
  double Loss(std::span<const MatView<const float>> readers) const override {
    const MatView<const float> x = layer_.inputs.view(), w = layer_.weights.view(), v = readers[0];
    double total = 0;
    std::vector<double> change(w.cols);
    for (size_t r = 0; r < w.rows; ++r) {
      for (size_t j = 0; j < w.cols; ++j) change[j] = static_cast<double>(w.Row(r)[j]) - v.Row(r)[j];
      for (size_t t = 0; t < x.rows; ++t) {
        const float* row = x.Row(t);
        double y = 0;
        for (size_t j = 0; j < w.cols; ++j) y += change[j] * row[j];
        total += y * y;
      }
    }
    return total / static_cast<double>(x.rows * w.rows);
  }

 private:
  const Layer& layer_;
};

// The worked examples of docs/methods.md: inputs here, numbers in testdata.
inline Json Examples() {
  return ReadJsonFile(std::string(LOWBIT_TESTDATA) + "/quant/awq_examples.json");
}

inline Matrix MatrixOf(size_t rows, size_t cols, const std::vector<float>& values) {
  Matrix m(rows, cols);
  std::copy_n(values.data(), rows * cols, m.data());
  return m;
}

inline Layer WorkedLayer() {
  return {MatrixOf(3, 4, {.31f, -.12f, .44f, .05f, -.27f, .33f, .08f, -.51f, .16f, .22f, -.38f, .29f}),
          MatrixOf(4, 4, {8, .3f, -.5f, .2f, -7, .1f, .4f, -.6f, 9, -.4f, .2f, .5f, 6, .6f, -.3f, -.1f})};
}

inline Layer FormulaLayer() {
  Layer layer{Matrix(4, 16), Matrix(64, 16)};
  for (size_t c = 0; c < 16; ++c) {
    const auto j = static_cast<double>(c);
    for (size_t r = 0; r < 4; ++r) {
      const auto i = static_cast<double>(r);
      layer.weights.view().Row(r)[c] = static_cast<float>(std::sin(1 + 1.3 * i + 0.7 * j + 0.11 * i * j));
    }
    for (size_t row = 0; row < 64; ++row) {
      const auto t = static_cast<double>(row);
      const double x = std::cos(0.37 * t + 1.1 * j + 0.05 * t * j) * static_cast<double>(1 + c % 5);
      layer.inputs.view().Row(row)[c] = static_cast<float>(x);
    }
  }
  return layer;
}

}  // namespace lowbit::awq_testing
