// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/awq_clip.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "lowbit/quant/awq_loss.h"
#include "lowbit/quant/importance.h"
#include "lowbit/quant/rounding.h"
#include "lowbit/quant/row_loops.h"

namespace lowbit {
namespace {

constexpr size_t kBounds = 10;  // tried for every group
constexpr double kBoundGrid = 20;
constexpr size_t kErrorsHeld = size_t{1} << 22;  // weights of all bounds

float Bound(float absmax, size_t step) {
  return absmax * static_cast<float>(1 - static_cast<double>(step) / kBoundGrid);
}

// The columns of one group, for all rows.
class GroupSearch {
 public:
  GroupSearch(MatView<const float> weights, const WeightSpec& spec, const ClipInputs& inputs, size_t begin,
              size_t end, const Backend& backend, const Place& place)
      : weights_(weights.data + begin, weights.rows, end - begin, weights.stride),
        spec_(spec),
        threads_(backend.threads()),
        place_(place.Item(fmt::format("columns {} to {}", begin, end - 1))),
        form_(backend, inputs.gram, begin, end - begin, 1 / static_cast<double>(inputs.tokens),
              inputs.scales.empty() ? inputs.scales : inputs.scales.subspan(begin, end - begin)) {
    spec_.group_size = 0;  // what is seen here is one group
    if (spec.range != RangeSearch::kHdiag) return;
    const auto scales = inputs.scales.empty() ? inputs.scales : inputs.scales.subspan(begin, end - begin);
    importance_ = ImportanceOf(inputs.gram, begin, end - begin, scales);
  }

  void Run(MatView<float> bounds, size_t group) const {
    const size_t step = std::max<size_t>(1, kErrorsHeld / (kBounds * weights_.cols));
    for (size_t first = 0; first < weights_.rows; first += step) {
      RunRows(first, std::min(step, weights_.rows - first), bounds, group);
    }
  }

 private:
  void RunRows(size_t first, size_t count, MatView<float> bounds, size_t group) const {
    std::vector<float> absmax(count);
    threads_.For(count, [&](size_t r) {
      const WeightRange range = Loops().range(weights_.Row(first + r), weights_.cols);
      absmax[r] = std::max(std::abs(range.lo), std::abs(range.hi));
    });
    Matrix errors(kBounds * count, weights_.cols);
    for (size_t i = 0; i < kBounds; ++i) FillErrors(first, absmax, i, errors.view().Rows(i * count, count));
    std::vector<double> forms(kBounds * count);
    form_.Evaluate(errors.view(), forms);
    for (size_t r = 0; r < count; ++r) {
      size_t best = 0;
      for (size_t i = 0; i < kBounds; ++i) {
        const double form = forms[i * count + r];
        if (!std::isfinite(form)) {
          throw Error(ErrorKind::kNumeric, place_.Item(fmt::format("row {}", first + r)),
                      fmt::format("the error of clipped weights is {}, expected a finite Gram matrix", form));
        }
        if (form < forms[best * count + r]) best = i;
      }
      bounds.Row(first + r)[group] = Bound(absmax[r], best);
    }
  }

  // errors = Q(clamp(w)) - w.
  void FillErrors(size_t first, std::span<const float> absmax, size_t step, MatView<float> errors) const {
    threads_.For(errors.rows, [&](size_t r) {
      const float *w = weights_.Row(first + r), bound = Bound(absmax[r], step);
      float* clamped = errors.Row(r);
      for (size_t j = 0; j < weights_.cols; ++j) clamped[j] = std::clamp(w[j], -bound, bound);
    });
    RoundToValues(errors, spec_, first, place_, threads_, errors, importance_);
    threads_.For(errors.rows, [&](size_t r) {
      const float* w = weights_.Row(first + r);
      float* e = errors.Row(r);
      for (size_t j = 0; j < weights_.cols; ++j) e[j] -= w[j];
    });
  }

  MatView<const float> weights_;
  WeightSpec spec_;
  const Threads& threads_;
  Place place_;
  GramForm form_;
  std::vector<float> importance_;
};

}  // namespace

bool AwqClips(std::string_view linear) {
  constexpr std::array<std::string_view, 5> kSkipped = {"q_", "k_", "query", "key", "Wqkv"};
  return std::ranges::none_of(kSkipped,
                              [&](std::string_view part) { return linear.find(part) != linear.npos; });
}

Matrix SearchClip(MatView<const float> weights, const ClipInputs& inputs, const WeightSpec& spec,
                  const Backend& backend, const Place& place) {
  LOWBIT_ASSERT(inputs.tokens > 0 && inputs.gram.cols == weights.cols);
  const size_t size = spec.GroupSizeFor(weights.cols), groups = (weights.cols + size - 1) / size;
  Matrix bounds(weights.rows, groups);
  for (size_t k = 0; k < groups; ++k) {
    const size_t end = std::min(weights.cols, (k + 1) * size);
    GroupSearch(weights, spec, inputs, k * size, end, backend, place).Run(bounds.view(), k);
  }
  return bounds;
}

void ClampToBounds(MatView<float> weights, MatView<const float> bounds, size_t group_size) {
  LOWBIT_ASSERT(bounds.rows == weights.rows && bounds.cols == (weights.cols + group_size - 1) / group_size);
  for (size_t r = 0; r < weights.rows; ++r) {
    float* w = weights.Row(r);
    for (size_t j = 0; j < weights.cols; ++j) {
      const float bound = bounds.Row(r)[j / group_size];
      w[j] = std::clamp(w[j], -bound, bound);
    }
  }
}

}  // namespace lowbit
