// SPDX-License-Identifier: Apache-2.0
// FactorGram of gptq.h.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "lowbit/quant/cholesky.h"
#include "lowbit/quant/gptq.h"

namespace lowbit {
namespace {

constexpr size_t kRowsPerTask = 32;

template <class Body>
void ForRows(size_t rows, const Threads& threads, const Body& body) {
  threads.For((rows + kRowsPerTask - 1) / kRowsPerTask, [&](size_t task) {
    for (size_t r = task * kRowsPerTask; r < std::min(rows, (task + 1) * kRowsPerTask); ++r) body(r);
  });
}

void RequireFinite(MatView<const double> gram, const Place& place, const Threads& threads) {
  ForRows(gram.rows, threads, [&](size_t i) {
    for (size_t j = i; j < gram.cols; ++j) {
      if (std::isfinite(gram.Row(i)[j])) continue;
      throw Error(ErrorKind::kNumeric, place,
                  fmt::format("the sum of products of inputs {} and {} is {}, expected a finite number", i, j,
                              gram.Row(i)[j]))
          .Hint("the activations of the calibration set overflowed before this layer");
    }
  });
}

// A Gram matrix whose lower triangle, diagonal included, serves as workspace; the diagonal is kept here.
class Workspace {
 public:
  Workspace(MatView<double> gram, const Threads& threads) : gram_(gram), threads_(threads) {
    for (size_t i = 0; i < gram.rows; ++i) diagonal_.push_back(gram.Row(i)[i]);
  }
  ~Workspace() {
    for (size_t i = 0; i < gram_.rows; ++i) gram_.Row(i)[i] = diagonal_[i];
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  const std::vector<double>& diagonal() const { return diagonal_; }

  // U for the diagonal `h` + damping, by position; false when that is not positive definite.
  //
  // With J the reversal of indices and M the lower Cholesky factor of J H J, U = J M⁻¹ J: one factorisation and
  // one triangular inverse, both in f64, where the original inverts H and factors it a second time.
  bool Factor(std::span<const double> h, double damping, std::span<const uint32_t> order, Matrix& u) {
    const size_t n = gram_.rows;
    const auto column = [&](size_t i) {  // of row i of the reversed matrix
      const size_t p = n - 1 - i;
      return order.empty() ? p : order[p];
    };
    ForRows(n, threads_, [&](size_t i) {
      const size_t a = column(i);
      double* row = gram_.Row(i);
      for (size_t j = 0; j < i; ++j) {
        const size_t b = column(j);
        row[j] = gram_.data[std::min(a, b) * gram_.stride + std::max(a, b)];
      }
    });
    for (size_t i = 0; i < n; ++i) gram_.Row(i)[i] = h[column(i)] + damping;
    if (!CholeskyInPlace(gram_, threads_)) return false;
    InvertLowerInPlace(gram_, threads_);
    u = Matrix(n, n);
    ForRows(n, threads_, [&](size_t i) {
      float* row = u.view().Row(i);
      const double* from = gram_.Row(n - 1 - i);
      std::fill(row, row + i, 0.0f);
      for (size_t j = i; j < n; ++j) row[j] = static_cast<float>(from[n - 1 - j]);
    });
    return true;
  }

 private:
  MatView<double> gram_;
  const Threads& threads_;
  std::vector<double> diagonal_;
};

// Columns with the largest inputs first; of equal ones the first.
std::vector<uint32_t> DescendingOrder(std::span<const double> h) {
  std::vector<uint32_t> order(h.size());
  std::iota(order.begin(), order.end(), 0u);
  std::ranges::stable_sort(order, [&](uint32_t a, uint32_t b) { return h[a] > h[b]; });
  return order;
}

}  // namespace

std::string_view Name(GramState state) {
  switch (state) {
    case GramState::kFactored:
      return "factored";
    case GramState::kNotDefinite:
      return "not positive definite";
    case GramState::kNoInputs:
      break;
  }
  return "no inputs";
}

GptqFactor FactorGram(MatView<double> gram, const GptqOptions& options, const Place& place,
                      const Threads& threads) {
  LOWBIT_ASSERT(gram.rows == gram.cols && gram.rows > 0);
  RequireFinite(gram, place, threads);
  Workspace workspace(gram, threads);
  GptqFactor factor;
  std::vector<double> h = workspace.diagonal();
  for (size_t c = 0; c < h.size(); ++c) {
    factor.importance.push_back(static_cast<float>(h[c]));
    if (h[c] != 0) continue;
    factor.dead.push_back(static_cast<uint32_t>(c));
    h[c] = 1;
  }
  if (options.act_order) factor.order = DescendingOrder(h);
  if (factor.dead.size() == h.size()) return factor;
  const double mean = std::accumulate(h.begin(), h.end(), 0.0) / static_cast<double>(h.size());
  factor.state = GramState::kNotDefinite;
  for (const double step : kDampLadder) {
    const double damp = options.damp * step;
    if (!workspace.Factor(h, damp * mean, factor.order, factor.u)) continue;
    factor.state = GramState::kFactored;
    factor.damp = damp;
    break;
  }
  return factor;
}

std::span<const uint32_t> StoredOrder(const GptqFactor& factor, const WeightSpec& spec,
                                      const GptqOptions& options) {
  const bool has_own_groups = !options.static_groups && spec.GroupSizeFor(factor.cols()) < factor.cols();
  return has_own_groups ? std::span<const uint32_t>(factor.order) : std::span<const uint32_t>();
}

}  // namespace lowbit
