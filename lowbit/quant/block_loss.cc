// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/block_loss.h"

#include <algorithm>

namespace lowbit {

BlockLoss::BlockLoss(const StagedLayer::Job& job, const LayerWeights& weights, const LayerStep& step,
                     Activations& x)
    : job_(job), weights_(weights), step_(step), x_(x) {
  const std::vector<LayerStep> steps = StepsOf(job.layout);
  const auto at = std::ranges::find(steps, step.tap, &LayerStep::tap);
  LOWBIT_ASSERT(at != steps.end() && at + 1 != steps.end());
  out_ = *(at + 1);
  original_ = After([&](const std::string& name) { return weights_.linears.find(name)->second; });
}

std::unique_ptr<Activations> BlockLoss::After(const StagedLayer::WeightOf& weight_of) const {
  size_t most = 0;
  for (const SequenceRows& s : job_.sequences) most = std::max(most, s.end - s.begin);
  auto x = job_.place.Make(x_.rows(), x_.cols(), std::max(job_.rows_per_group, most));
  for (const SequenceRows& s : job_.sequences) {
    const MatView<float> from = x_.Load(s.begin, s.end - s.begin),
                         to = x->Load(s.begin, s.end - s.begin, true);
    for (size_t t = 0; t < from.rows; ++t) std::ranges::copy(from.RowSpan(t), to.Row(t));
    x->Store();
  }
  StagedLayer layer(job_, weights_, *x);
  layer.Advance(step_, weight_of);
  layer.Advance(out_, [&](const std::string& name) { return weights_.linears.find(name)->second; });
  return x;
}

double BlockLoss::Loss(std::span<const MatView<const float>> readers) const {
  const auto changed = After([&](const std::string& name) -> Weight {
    const size_t i = static_cast<size_t>(std::ranges::find(step_.readers, name) - step_.readers.begin());
    const MatView<const float> reader = readers[i];
    LOWBIT_ASSERT(reader.stride == reader.cols);
    return TensorView{DType::kF32,
                      {reader.rows, reader.cols},
                      std::as_bytes(std::span(reader.data, reader.rows * reader.cols))};
  });
  double total = 0;
  for (const SequenceRows& s : job_.sequences) {
    const size_t count = s.end - s.begin;
    const MatView<const float> a = original_->Load(s.begin, count), b = changed->Load(s.begin, count);
    std::vector<double> of_rows(count);
    job_.backend.threads().For(count, [&](size_t t) {
      const float *was = a.Row(t), *is = b.Row(t);
      double sum = 0;
      for (size_t j = 0; j < a.cols; ++j) {
        const double d = static_cast<double>(was[j]) - static_cast<double>(is[j]);
        sum += d * d;
      }
      of_rows[t] = sum;
    });
    for (const double row : of_rows) total += row;
  }
  return total / static_cast<double>(x_.rows() * x_.cols());
}

}  // namespace lowbit
