// SPDX-License-Identifier: Apache-2.0
// What GPTQ is tested with: small Gram matrices, one call for a case, and the error it is to make small.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "lowbit/quant/gptq.h"
#include "lowbit/quant/rounding.h"
#include "lowbit/quant/uniform.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {

// [size, size], upper triangle.
struct GramMatrix {
  explicit GramMatrix(size_t n) : size(n), values(n * n) {}
  MatView<double> view() { return {values.data(), size, size}; }
  double& At(size_t i, size_t j) { return values[i * size + j]; }
  double At(size_t i, size_t j) const { return values[i * size + j]; }
  double Full(size_t i, size_t j) const { return At(std::min(i, j), std::max(i, j)); }

  GramMatrix Damped(double damp) const {
    GramMatrix damped = *this;
    double mean = 0;
    for (size_t i = 0; i < size; ++i) mean += At(i, i) / static_cast<double>(size);
    for (size_t i = 0; i < size; ++i) damped.At(i, i) += damp * mean;
    return damped;
  }

  size_t size;
  std::vector<double> values;
};

// factor · Σ x xᵀ over the rows of x.
inline GramMatrix GramOf(const std::vector<std::vector<double>>& x, double factor) {
  GramMatrix gram(x[0].size());
  for (const std::vector<double>& row : x) {
    for (size_t i = 0; i < gram.size; ++i) {
      for (size_t j = i; j < gram.size; ++j) gram.At(i, j) += factor * row[i] * row[j];
    }
  }
  return gram;
}

// Of inputs that hang together, as those of a model do: each column leans on the one before it.
inline GramMatrix RandomGram(size_t n, size_t tokens, uint32_t seed) {
  const Matrix noise = RandomMatrix(tokens, n, seed);
  std::vector<std::vector<double>> x(tokens, std::vector<double>(n));
  for (size_t t = 0; t < tokens; ++t) {
    for (size_t c = 0; c < n; ++c) {
      const double own = static_cast<double>(noise.view().Row(t)[c]) * (1 + static_cast<double>(c * 7 % 5));
      x[t][c] = own + (c > 0 ? 0.9 * x[t][c - 1] : 0.0);
    }
  }
  return GramOf(x, 1);
}

inline Matrix ToMatrix(const std::vector<std::vector<double>>& rows) {
  Matrix m(rows.size(), rows[0].size());
  for (size_t r = 0; r < m.rows(); ++r) {
    for (size_t c = 0; c < m.cols(); ++c) m.view().Row(r)[c] = static_cast<float>(rows[r][c]);
  }
  return m;
}

inline Matrix Values(const PackedTensor& packed) {
  Matrix values(packed.rows, packed.cols);
  Dequantize(packed, 0, values.view());
  return values;
}

// tr((W - Ŵ) H (W - Ŵ)ᵀ)
inline double GramError(const Matrix& w, const Matrix& values, const GramMatrix& gram) {
  double sum = 0;
  std::vector<double> e(w.cols());
  for (size_t r = 0; r < w.rows(); ++r) {
    for (size_t c = 0; c < w.cols(); ++c)
      e[c] = static_cast<double>(w.view().Row(r)[c]) - static_cast<double>(values.view().Row(r)[c]);
    for (size_t i = 0; i < w.cols(); ++i) {
      sum += e[i] * e[i] * gram.At(i, i);
      for (size_t j = i + 1; j < w.cols(); ++j) sum += 2 * e[i] * e[j] * gram.At(i, j);
    }
  }
  return sum;
}

struct GptqCase {
  WeightSpec spec;
  GptqOptions options;
  size_t block = kGptqBlock;
  size_t rows_at_once = 0;  // 0 = all
  int threads = 1;

  std::string Text() const {
    return fmt::format("{} {}{}{}{}", Name(spec.grid), spec.Text(), options.act_order ? " act_order" : "",
                       options.static_groups ? " static" : "", options.fresh_range ? "" : " stale");
  }
};

struct GptqResult {
  PackedTensor packed;
  Matrix values;  // Ŵ
  double loss = 0;
};

inline GptqFactor Factor(GramMatrix gram, const GptqOptions& options = {}) {
  const Threads threads(2);
  return FactorGram(gram.view(), options, Place("gram"), threads);
}

inline GptqResult RunGptq(const Matrix& w, const GramMatrix& gram, const GptqCase& c) {
  const GptqFactor factor = Factor(gram, c.options);
  GptqResult result;
  result.packed = MakePacked(w.rows(), w.cols(), c.spec, StoredOrder(factor, c.spec, c.options));
  const size_t step = c.rows_at_once == 0 ? w.rows() : c.rows_at_once;
  const Place place("weights");
  std::vector<double> losses((w.rows() + step - 1) / step);
  const Threads threads(c.threads);
  threads.For(losses.size(), [&](size_t piece) {
    const size_t first = piece * step;
    losses[piece] = RoundGptq({.weights = w.view().Rows(first, std::min(step, w.rows() - first)),
                               .first_row = first,
                               .factor = factor,
                               .spec = c.spec,
                               .options = c.options,
                               .place = place,
                               .block = c.block},
                              result.packed);
  });
  for (const double loss : losses) result.loss += loss;
  Validate(result.packed, Place("packed"));
  result.values = Values(result.packed);
  return result;
}

}  // namespace lowbit
