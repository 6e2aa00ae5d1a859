// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/awq_loss.h"

#include <algorithm>

#include "lowbit/quant/row_loops.h"
#include "lowbit/tensor/dense_view.h"

namespace lowbit {
namespace {

constexpr size_t kBlockColumns = 512;  // what the backend multiplies at once
constexpr size_t kErrorRows = 1024;    // rows of E that are held

// Transposed, as a weight: row j holds C_0j … C_jj / 2, and zeros up to the block's end.
Matrix BlockOf(MatView<const double> gram, size_t first, size_t begin, size_t end, double factor,
               std::span<const float> scales, const Threads& threads) {
  Matrix block(end - begin, end);
  threads.For(end - begin, [&](size_t i) {
    const size_t j = begin + i;
    const double by = factor / (scales.empty() ? 1.0 : static_cast<double>(scales[j]));
    float* row = block.view().Row(i);
    for (size_t k = 0; k <= j; ++k) {
      const double value = gram.Row(first + k)[first + j] * by;
      row[k] = static_cast<float>(scales.empty() ? value : value / static_cast<double>(scales[k]));
    }
    row[j] *= 0.5f;
    std::fill(row + j + 1, row + end, 0.0f);
  });
  return block;
}

}  // namespace

GramForm::GramForm(const Backend& backend, MatView<const double> gram, size_t first, size_t size,
                   double factor, std::span<const float> scales)
    : backend_(backend) {
  LOWBIT_ASSERT(first + size <= gram.cols && (scales.empty() || scales.size() == size));
  for (size_t begin = 0; begin < size; begin += kBlockColumns) {
    const size_t end = std::min(size, begin + kBlockColumns);
    const Matrix block = BlockOf(gram, first, begin, end, factor, scales, backend.threads());
    blocks_.push_back({begin, backend.Prepare(DenseView(block), Compute::kF32)});
  }
}

void GramForm::Evaluate(MatView<const float> errors, std::span<double> forms) const {
  LOWBIT_ASSERT(errors.rows == forms.size());
  std::fill(forms.begin(), forms.end(), 0.0);
  Matrix products(errors.rows, std::min(kBlockColumns, errors.cols));
  for (const Block& block : blocks_) {
    const size_t width = block.weight->out();
    const MatView<float> y(products.data(), errors.rows, width);
    const MatView<const float> x(errors.data, errors.rows, block.weight->in(), errors.stride);
    backend_.Gemm(x, *block.weight, {}, y);
    backend_.threads().For(errors.rows, [&](size_t r) {
      forms[r] += 2 * Loops().dot(y.Row(r), errors.Row(r) + block.begin, width);
    });
  }
}

GramLoss::GramLoss(const Backend& backend, MatView<const double> gram, uint64_t tokens,
                   std::span<const MatView<const float>> weights,
                   std::span<const std::vector<float>> row_weights)
    : backend_(backend),
      form_(backend, gram, 0, gram.cols, 1 / static_cast<double>(tokens)),
      weights_(weights.begin(), weights.end()),
      row_weights_(row_weights.begin(), row_weights.end()) {
  LOWBIT_ASSERT(tokens > 0 && (row_weights.empty() || row_weights.size() == weights.size()));
}

double GramLoss::Loss(std::span<const MatView<const float>> readers) const {
  LOWBIT_ASSERT(readers.size() == weights_.size());
  double total = 0;
  size_t channels = 0;
  for (size_t i = 0; i < readers.size(); ++i) {
    const MatView<const float> before = weights_[i], after = readers[i];
    LOWBIT_ASSERT(before.rows == after.rows && before.cols == after.cols);
    for (size_t first = 0; first < before.rows; first += kErrorRows) {
      const size_t count = std::min(kErrorRows, before.rows - first);
      Matrix errors(count, before.cols);
      backend_.threads().For(count, [&](size_t r) {
        const float *w = before.Row(first + r), *v = after.Row(first + r);
        float* e = errors.view().Row(r);
        for (size_t j = 0; j < before.cols; ++j) e[j] = w[j] - v[j];
      });
      std::vector<double> forms(count);
      form_.Evaluate(errors.view(), forms);
      for (size_t r = 0; r < count; ++r) {
        total += forms[r] * (row_weights_.empty() ? 1.0 : static_cast<double>(row_weights_[i][first + r]));
      }
    }
    channels += before.rows;
  }
  return total / static_cast<double>(channels);
}

ExpertsGramLoss::ExpertsGramLoss(const Backend& backend, std::vector<Expert> experts)
    : backend_(backend), experts_(std::move(experts)) {}

// One expert's form at a time: all together would be as large as a layer's statistics.
double ExpertsGramLoss::Loss(std::span<const MatView<const float>> readers) const {
  double total = 0, tokens = 0;
  size_t first = 0;
  for (const Expert& expert : experts_) {
    const auto its = readers.subspan(first, expert.weights.size());
    first += expert.weights.size();
    if (expert.tokens == 0) continue;
    const GramLoss loss(backend_, expert.gram, expert.tokens, expert.weights, expert.row_weights);
    total += static_cast<double>(expert.tokens) * loss.Loss(its);
    tokens += static_cast<double>(expert.tokens);
  }
  LOWBIT_ASSERT(first == readers.size());
  return tokens == 0 ? 0 : total / tokens;
}

}  // namespace lowbit
