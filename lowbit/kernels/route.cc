// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/route.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace lowbit {
namespace {

void Softmax(std::span<float> x) {
  const float largest = *std::ranges::max_element(x);
  float sum = 0;
  for (float& v : x) sum += v = std::exp(v - largest);
  for (float& v : x) v /= sum;
}

}  // namespace

std::vector<ExpertRows> RouteRows(MatView<const float> logits, size_t active, bool normalize) {
  LOWBIT_ASSERT(active >= 1 && active <= logits.cols);
  std::vector<ExpertRows> experts(logits.cols);
  std::vector<float> p(logits.cols);
  std::vector<uint32_t> order(logits.cols);
  for (size_t t = 0; t < logits.rows; ++t) {
    std::ranges::copy(logits.RowSpan(t), p.begin());
    Softmax(p);
    std::iota(order.begin(), order.end(), 0u);
    const auto is_before = [&](uint32_t a, uint32_t b) { return p[a] != p[b] ? p[a] > p[b] : a < b; };
    const bool is_number = std::ranges::none_of(p, [](float v) { return std::isnan(v); });
    const auto end = order.begin() + static_cast<std::ptrdiff_t>(active);
    if (is_number) std::partial_sort(order.begin(), end, order.end(), is_before);
    float sum = 1;
    if (normalize)
      sum = std::accumulate(order.begin(), end, 0.0f, [&](float s, uint32_t e) { return s + p[e]; });
    for (auto e = order.begin(); e != end; ++e) {
      experts[*e].rows.push_back(static_cast<uint32_t>(t));
      experts[*e].weights.push_back(p[*e] / sum);
    }
  }
  return experts;
}

}  // namespace lowbit
