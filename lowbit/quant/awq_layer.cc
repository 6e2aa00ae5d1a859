// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/awq_layer.h"

#include <algorithm>

#include "lowbit/quant/awq_clip.h"
#include "lowbit/quant/awq_fold.h"
#include "lowbit/quant/awq_loss.h"

namespace lowbit {
namespace {

using Kind = LayerStep::Kind;

std::vector<float> DiagonalOf(MatView<const double> gram) {
  std::vector<float> diagonal;
  for (size_t j = 0; j < gram.cols; ++j) diagonal.push_back(static_cast<float>(gram.Row(j)[j]));
  return diagonal;
}

class Rescaler {
 public:
  Rescaler(const AwqLayerJob& job, const LayerWeights& weights) : job_(job) {
    for (const LinearSpec& linear : job.layout.linears) {
      Matrix& matrix = layer_.linears[linear.name] = Matrix(linear.out, linear.in);
      job.backend.threads().For(linear.out, [&](size_t r) {
        RowsToFloat(weights.linears.find(linear.name)->second, r, matrix.view().Rows(r, 1));
      });
    }
    layer_.norms = weights.norms;
    layer_.biases = weights.biases;
  }

  RescaledLayer Run() {
    const std::vector<LayerStep> steps = StepsOf(job_.layout);
    for (const LayerStep& step : steps) {
      if (IsSearched(step)) Search(step);
    }
    for (const LayerStep& step : steps) {
      if (layer_.scales.contains(step.tap)) Fold(step);
    }
    for (const LayerStep& step : steps) {
      if (job_.clips) Clip(step);
    }
    return std::move(layer_);
  }

 private:
  // Attention's output only where every query head has a value of its own: the original's condition.
  bool IsSearched(const LayerStep& step) const {
    return step.kind != Kind::kAttnOut || job_.config.num_attention_heads == job_.config.num_key_value_heads;
  }

  const InputStatistics& InputsOf(const LayerStep& step) const { return job_.inputs.find(step.tap)->second; }

  void Search(const LayerStep& step) {
    const InputStatistics& inputs = InputsOf(step);
    std::vector<MatView<const float>> readers;
    for (const std::string& reader : step.readers)
      readers.push_back(layer_.linears.find(reader)->second.view());
    const std::vector<double> mean = inputs.mean_abs();
    const std::vector<float> mean_abs(mean.begin(), mean.end()), importance = DiagonalOf(inputs.Gram());
    std::unique_ptr<ScaleLoss> loss;
    if (job_.loss_of) loss = job_.loss_of(step);
    if (!loss) loss = std::make_unique<GramLoss>(job_.backend, inputs.Gram(), inputs.tokens, readers);
    AwqChoice choice = SearchScales({readers, mean_abs, importance}, job_.spec, *loss,
                                    job_.place.Item(step.tap), job_.backend.threads());
    layer_.scales[step.tap] = choice.scales;
    layer_.choices[step.tap] = std::move(choice);
  }

  void Fold(const LayerStep& step) {
    const std::vector<float>& s = layer_.scales[step.tap];
    for (const std::string& reader : step.readers)
      ScaleColumns(layer_.linears.find(reader)->second.view(), s);
    switch (step.kind) {
      case Kind::kAttnIn:
        return DivideElements(layer_.norms.find("input_layernorm")->second, s);
      case Kind::kMlpIn:
        return DivideElements(layer_.norms.find("post_attention_layernorm")->second, s);
      case Kind::kMlpMid:
        return DivideProducer("mlp.up_proj", s);
      case Kind::kAttnOut:
        return DivideProducer("self_attn.v_proj", s);
    }
  }

  void DivideProducer(const std::string& name, std::span<const float> s) {
    DivideRows(layer_.linears.find(name)->second.view(), s);
    const auto bias = layer_.biases.find(name);
    if (bias != layer_.biases.end()) DivideElements(bias->second, s);
  }

  void Clip(const LayerStep& step) {
    const InputStatistics& inputs = InputsOf(step);
    const auto scales = layer_.scales.find(step.tap);
    const ClipInputs clip{inputs.Gram(), inputs.tokens,
                          scales == layer_.scales.end() ? std::span<const float>() : scales->second};
    for (const std::string& reader : step.readers) {
      if (!AwqClips(reader)) continue;
      Matrix& matrix = layer_.linears.find(reader)->second;
      const Matrix bounds = SearchClip(matrix.view(), clip, job_.spec, job_.backend, job_.place.Item(reader));
      ClampToBounds(matrix.view(), bounds.view(), job_.spec.GroupSizeFor(matrix.cols()));
    }
  }

  const AwqLayerJob& job_;
  RescaledLayer layer_;
};

}  // namespace

Weight RescaledLayer::WeightOf(const std::string& linear) const {
  const Matrix& matrix = linears.find(linear)->second;
  return TensorView{DType::kF32,
                    {matrix.rows(), matrix.cols()},
                    std::as_bytes(std::span(matrix.data(), matrix.rows() * matrix.cols()))};
}

RescaledLayer RescaleWithAwq(const AwqLayerJob& job, const LayerWeights& weights) {
  if (job.layout.experts) {
    throw Error(ErrorKind::kUsage, "awq does not rescale mixtures of experts yet, expected a dense model");
  }
  return Rescaler(job, weights).Run();
}

}  // namespace lowbit
