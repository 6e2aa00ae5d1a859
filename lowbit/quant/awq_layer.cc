// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/awq_layer.h"

#include <algorithm>

#include "lowbit/quant/awq_clip.h"
#include "lowbit/quant/awq_loss.h"
#include "lowbit/quant/importance.h"

namespace lowbit {
namespace {

using Kind = LayerStep::Kind;

class Rescaler {
 public:
  Rescaler(const AwqLayerJob& job, const LayerWeights& weights)
      : job_(job), layer_(CopyToRescale(job.layout, weights, job.backend.threads())) {}

  RescaledLayer Run() {
    const std::vector<ScaleGroup> groups = ScaleGroupsOf(job_.layout);
    for (const ScaleGroup& group : groups) {
      if (IsSearched(group.whole)) Search(group);
    }
    for (const ScaleGroup& group : groups) {
      const auto choice = layer_.choices.find(group.whole.tap);
      if (choice == layer_.choices.end()) continue;
      FoldScales(group.whole, choice->second.scales, job_.config, job_.layout, layer_);
    }
    for (const ScaleGroup& group : groups) {
      for (const LayerStep& step : group.steps) {
        if (InputsOf(step).tokens > 0) {
          if (job_.clips) Clip(step);
        } else if (step.kind == Kind::kMlpMid) {
          layer_.notes.push_back(fmt::format("{}: no inputs: awq finds no scales{}",
                                             job_.place.Item(step.tap).Text(),
                                             job_.clips ? ", and no bounds for this expert" : ""));
        }
      }
    }
    return std::move(layer_);
  }

 private:
  // Attention's output only where every query head has a value of its own: the original's condition. An expert's
  // down only where there is something to learn from.
  bool IsSearched(const LayerStep& step) const {
    if (!job_.spec_of(step.readers[0])) return false;
    if (step.kind == Kind::kMlpMid) return InputsOf(step).tokens > 0;
    return step.kind != Kind::kAttnOut || job_.config.num_attention_heads == job_.config.num_key_value_heads;
  }

  const InputStatistics& InputsOf(const LayerStep& step) const { return job_.inputs.find(step.tap)->second; }

  void Search(const ScaleGroup& group) {
    std::vector<MatView<const float>> readers;
    std::vector<std::vector<float>> importance;  // by reader
    std::vector<double> sums(group.whole.width);
    double tokens = 0;
    for (const LayerStep& step : group.steps) {
      const InputStatistics& inputs = InputsOf(step);
      for (const std::string& reader : step.readers) {
        readers.push_back(layer_.Linear(reader).view());
        importance.push_back(ImportanceOf(inputs));
      }
      // A row that goes to k experts counts k times in all of this: the mean is that over rows.
      for (size_t j = 0; j < sums.size(); ++j) sums[j] += inputs.sum_abs[j];
      tokens += static_cast<double>(inputs.tokens);
    }
    std::vector<float> mean_abs;
    for (const double sum : sums) mean_abs.push_back(static_cast<float>(sum / tokens));
    const std::unique_ptr<ScaleLoss> loss = LossOf(group, readers);
    AwqChoice choice = SearchScales({.readers = readers, .mean_abs = mean_abs, .importance_of = importance},
                                    *job_.spec_of(group.whole.readers[0]), *loss,
                                    job_.place.Item(group.whole.tap), job_.backend.threads());
    for (const LayerStep& step : group.steps) layer_.scales[step.tap] = choice.scales;
    layer_.choices[group.whole.tap] = std::move(choice);
  }

  std::unique_ptr<ScaleLoss> LossOf(const ScaleGroup& group,
                                    std::span<const MatView<const float>> readers) const {
    if (job_.loss_of) {
      if (std::unique_ptr<ScaleLoss> loss = job_.loss_of(group.whole)) return loss;
    }
    if (group.steps.size() == 1) {
      const InputStatistics& inputs = InputsOf(group.steps[0]);
      return std::make_unique<GramLoss>(job_.backend, inputs.Gram(), inputs.tokens, readers,
                                        RowWeightsOf(group.whole));
    }
    std::vector<ExpertsGramLoss::Expert> experts;
    size_t next = 0;
    for (const LayerStep& step : group.steps) {
      const InputStatistics& inputs = InputsOf(step);
      const auto its = readers.subspan(next, step.readers.size());
      experts.push_back({inputs.Gram(), inputs.tokens, {its.begin(), its.end()}, RowWeightsOf(step)});
      next += step.readers.size();
    }
    return std::make_unique<ExpertsGramLoss>(job_.backend, std::move(experts));
  }

  // Empty where every row counts the same.
  std::vector<std::vector<float>> RowWeightsOf(const LayerStep& step) const {
    std::vector<std::vector<float>> weights;
    if (job_.row_weights == nullptr) return weights;
    for (const std::string& reader : step.readers) {
      const auto its = job_.row_weights->find(reader);
      if (its != job_.row_weights->end()) weights.push_back(its->second);
    }
    return weights;
  }

  void Clip(const LayerStep& step) {
    const InputStatistics& inputs = InputsOf(step);
    const auto scales = layer_.scales.find(step.tap);
    const ClipInputs clip{inputs.Gram(), inputs.tokens,
                          scales == layer_.scales.end() ? std::span<const float>() : scales->second};
    for (const std::string& reader : step.readers) {
      const std::optional<WeightSpec> spec = job_.spec_of(reader);
      if (!AwqClips(reader) || !spec) continue;
      Matrix& matrix = layer_.Linear(reader);
      const Matrix bounds = SearchClip(matrix.view(), clip, *spec, job_.backend, job_.place.Item(reader));
      ClampToBounds(matrix.view(), bounds.view(), spec->GroupSizeFor(matrix.cols()));
    }
  }

  const AwqLayerJob& job_;
  RescaledLayer layer_;
};

}  // namespace

RescaledLayer RescaleWithAwq(const AwqLayerJob& job, const LayerWeights& weights) {
  return Rescaler(job, weights).Run();
}

}  // namespace lowbit
