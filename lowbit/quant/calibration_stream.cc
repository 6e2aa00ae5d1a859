// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/calibration_stream.h"

#include <algorithm>

#include "lowbit/model/token_rows.h"
#include "lowbit/quant/block_loss.h"

namespace lowbit {

CalibrationStream::CalibrationStream(const LayerSource& model, const CalibrationSet& set,
                                     const Backend& backend, ActivationsPlace place)
    : model_(model), backend_(backend), place_(std::move(place)) {
  size_t rows = 0, longest = 0;
  for (const TokenIds& ids : set.sequences) {
    sequences_.push_back({rows, rows + ids.size(), 0});
    rows += ids.size();
    longest = std::max(longest, ids.size());
  }
  held_ = std::max(kRowsPerGroup, longest);
  rope_ = MakeRopeTable(model.config(), longest);
  x_ = place_.Make(rows, model.config().hidden_size, std::min(held_, rows));
  TokenRows tokens(model);
  for (size_t s = 0; s < sequences_.size(); ++s) {
    const TokenIds& ids = set.sequences[s];
    RequireInVocabulary(ids, model.config().vocab_size, "the calibration set");
    tokens.LookUp(ids, x_->Load(sequences_[s].begin, ids.size(), true));
    x_->Store();
  }
}

InputStatistics CalibrationStream::Collect(StagedLayer& layer, const LayerStep& step, GramPart part) const {
  if (part == GramPart::kNone) return InputStatistics(0, part);
  InputStatistics statistics(step.width, part);
  const bool weighs = first_token_weight_ > 1 && step.kind == LayerStep::Kind::kAttnIn;
  layer.Inputs(step, [&](MatView<const float> rows) {  // of one sequence, outside mixtures of experts
    statistics.Add(backend_, rows);
    if (weighs) statistics.AddAgain(backend_, rows.RowSpan(0), first_token_weight_ - 1);
  });
  return statistics;
}

void CalibrationStream::Run(size_t index, const LayerWeights& weights, GramPart part, const Decide& decide) {
  const LayerLayout& layout = model_.layout().layers[index];
  StagedLayer layer(JobOf(index, sequences_.size()), weights, *x_);
  for (const LayerStep& step : StepsOf(layout)) {
    InputStatistics statistics = Collect(layer, step, part);
    const StagedLayer::WeightOf weight_of = decide(step, statistics);
    statistics = InputStatistics();  // a Gram matrix may be as large as a layer
    layer.Advance(step, weight_of);
  }
  for (const RowGroup& group : GroupSequences(sequences_, held_)) {
    const MatView<const float> rows = x_->Load(group.first, group.rows);
    if (!FirstNotFinite(rows, group.sequences, backend_.threads())) continue;
    throw Error(ErrorKind::kNumeric, Place().Item(fmt::format("layer {}", index)),
                "its output for the calibration set holds NaN or infinite values");
  }
}

void CalibrationStream::Look(size_t index, const LayerWeights& weights, GramPart part, const See& see) const {
  const std::unique_ptr<Activations> x = CopyOfRows(place_);
  StagedLayer layer(JobOf(index, sequences_.size()), weights, *x);
  for (const LayerStep& step : StepsOf(model_.layout().layers[index])) {
    {
      InputStatistics statistics = Collect(layer, step, part);
      see(step, statistics);
    }
    if (step.kind == LayerStep::Kind::kMlpMid) continue;  // what it makes no step of this layer reads
    layer.Advance(step, [&](const std::string& name) { return weights.linears.find(name)->second; });
  }
}

LayerRecord CalibrationStream::Record(size_t index, const LayerWeights& weights, const RecordNeeds& needs) {
  LayerRecord record;
  const StagedLayer::WeightOf weight_of = [&](const std::string& name) {
    return weights.linears.find(name)->second;
  };
  const size_t samples = needs.row_weights ? sequences_.size() : needs.samples;
  const auto keep = [&](const char* norm, ModuleRows& rows) {
    if (samples == 0 || rows.inputs) return;
    rows.inputs = Normalized(weights.norms.find(norm)->second, samples);
  };
  Run(index, weights, needs.gram, [&](const LayerStep& step, InputStatistics& statistics) {
    if (needs.gram != GramPart::kNone) record.inputs.emplace(step.tap, std::move(statistics));
    if (step.kind == LayerStep::Kind::kAttnIn) keep("input_layernorm", record.attention);
    if (step.kind == LayerStep::Kind::kMlpIn) keep("post_attention_layernorm", record.mlp);
    return weight_of;
  });
  if (needs.row_weights) {
    const StagedLayer::Job job = JobOf(index, samples);
    record.row_weights = AttentionRowWeights(job, weights, *record.attention.inputs);
    record.row_weights.merge(MlpRowWeights(job, weights, *record.mlp.inputs));
  }
  for (const auto& [kind, rows] : {std::pair{LayerStep::Kind::kAttnIn, &record.attention},
                                   std::pair{LayerStep::Kind::kMlpIn, &record.mlp}}) {
    if (needs.samples == 0) {
      rows->inputs.reset();
      continue;
    }
    const size_t count = sequences_[needs.samples - 1].end;
    rows->outputs = place_.Make(count, x_->cols(), std::min(held_, count));
    FillOutputs(JobOf(index, needs.samples), weights, kind, *rows);
  }
  return record;
}

// The first sequences as the readers behind a norm see them.
std::unique_ptr<Activations> CalibrationStream::Normalized(std::span<const float> norm,
                                                           size_t samples) const {
  const std::span<const SequenceRows> some = std::span(sequences_).first(samples);
  const size_t rows = some.back().end;
  auto normed = place_.Make(rows, x_->cols(), std::min(held_, rows));
  for (const SequenceRows& s : some) {
    const size_t count = s.end - s.begin;
    backend_.RmsNorm(x_->Load(s.begin, count), norm, static_cast<float>(model_.config().rms_norm_eps),
                     normed->Load(s.begin, count, true));
    normed->Store();
  }
  return normed;
}

std::unique_ptr<Activations> CalibrationStream::CopyOfRows(const ActivationsPlace& place) const {
  auto copy = place.Make(x_->rows(), x_->cols(), std::min(held_, x_->rows()));
  for (const SequenceRows& s : sequences_) {
    const MatView<const float> from = x_->Load(s.begin, s.end - s.begin);
    const MatView<float> to = copy->Load(s.begin, from.rows, true);
    for (size_t t = 0; t < from.rows; ++t) std::ranges::copy(from.RowSpan(t), to.Row(t));
    copy->Store();
  }
  return copy;
}

StagedLayer::Job CalibrationStream::JobOf(size_t index, size_t sequences) const {
  return {model_.config(), model_.layout().layers[index],          backend_,
          rope_,           std::span(sequences_).first(sequences), held_,
          place_};
}

std::unique_ptr<ScaleLoss> CalibrationStream::LossOf(const StagedLayer::Job& job, const LayerWeights& weights,
                                                     const LayerStep& step, const LayerRecord& record) const {
  switch (step.kind) {
    case LayerStep::Kind::kAttnIn:
      return std::make_unique<BlockLoss>(job, weights, step, record.attention);
    case LayerStep::Kind::kMlpIn:
      return std::make_unique<BlockLoss>(job, weights, step, record.mlp);
    default:
      return nullptr;
  }
}

uint64_t CalibrationStream::RowBytes(const ModelConfig& config, size_t rows) {
  return rows * config.hidden_size * sizeof(float);
}

uint64_t CalibrationStream::BetweenBytes(const ModelConfig& config, size_t rows) {
  const size_t inner = config.num_experts > 0 ? config.hidden_size : config.intermediate_size;
  return rows * std::max(config.QuerySize(), inner) * sizeof(float);
}

}  // namespace lowbit
