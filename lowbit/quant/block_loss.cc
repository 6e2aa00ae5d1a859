// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/block_loss.h"

#include <algorithm>
#include <limits>

#include "lowbit/quant/squared_distance.h"
#include "lowbit/tensor/dense_view.h"

namespace lowbit {

BlockLoss::BlockLoss(const StagedLayer::Job& job, const LayerWeights& weights, const LayerStep& step,
                     const ModuleRows& rows)
    : job_(job), step_(step), rows_(rows), module_(job, weights, step.kind, *rows.inputs) {
  for (const SequenceRows& s : job.sequences) values_ += static_cast<double>(s.end - s.begin);
  values_ *= static_cast<double>(job.config.hidden_size);
}

double BlockLoss::Loss(std::span<const MatView<const float>> readers) const {
  return LossUpTo(readers, std::numeric_limits<double>::infinity());
}

double BlockLoss::LossUpTo(std::span<const MatView<const float>> readers, double enough) const {
  const auto weight_of = [&](const std::string& name) -> Weight {
    const auto at = std::ranges::find(step_.readers, name);
    LOWBIT_ASSERT(at != step_.readers.end());
    return DenseView(readers[static_cast<size_t>(at - step_.readers.begin())]);
  };
  double total = 0;
  module_.Run(weight_of, [&](size_t first, MatView<const float> output) {
    total += SquaredDistance(rows_.outputs->Load(first, output.rows), output, job_.backend.threads());
    return !(total / values_ >= enough);
  });
  return total / values_;
}

void FillOutputs(const StagedLayer::Job& job, const LayerWeights& weights, LayerStep::Kind kind,
                 ModuleRows& rows) {
  const auto weight_of = [&](const std::string& name) { return weights.linears.find(name)->second; };
  LayerModule(job, weights, kind, *rows.inputs)
      .Run(weight_of, [&](size_t first, MatView<const float> output) {
        const MatView<float> to = rows.outputs->Load(first, output.rows, true);
        for (size_t t = 0; t < output.rows; ++t) std::ranges::copy(output.RowSpan(t), to.Row(t));
        rows.outputs->Store();
        return true;
      });
}

}  // namespace lowbit
