// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/decoder.h"

#include <algorithm>
#include <cmath>

#include "lowbit/model/layer_forward.h"
#include "lowbit/model/rope.h"

namespace lowbit {
namespace {

using IdSpans = std::span<const std::span<const int32_t>>;

std::vector<SequenceRows> PlaceSequences(IdSpans sequences) {
  std::vector<SequenceRows> rows;
  size_t begin = 0;
  for (const std::span<const int32_t> ids : sequences) {
    if (!ids.empty()) rows.push_back({begin, begin + ids.size(), 0});
    begin += ids.size();
  }
  return rows;
}

void RequireInVocabulary(std::span<const int32_t> ids, size_t vocabulary) {
  for (const int32_t id : ids) {
    if (id >= 0 && static_cast<size_t>(id) < vocabulary) continue;
    throw Error(ErrorKind::kContent,
                fmt::format("token id {}, the model's vocabulary has {} entries", id, vocabulary))
        .Hint("does the tokenizer belong to this model?");
  }
}

void RequireFiniteRows(MatView<const float> x, std::span<const SequenceRows> sequences,
                       std::string_view where, const Threads& threads) {
  std::vector<uint8_t> bad(sequences.size(), 0);
  threads.For(sequences.size(), [&](size_t i) {
    for (size_t t = sequences[i].begin; t < sequences[i].end; ++t) {
      float sum = 0;  // of zeros, unless a value is NaN or infinite
      for (const float v : x.RowSpan(t)) sum += v * 0.0f;
      bad[i] |= static_cast<uint8_t>(sum != 0.0f || std::isnan(sum));
    }
  });
  const auto first = std::find(bad.begin(), bad.end(), 1);
  if (first == bad.end()) return;
  throw Error(ErrorKind::kNumeric, Place().Item(std::string(where)),
              fmt::format("its output holds NaN or infinite values, first in sequence {} of the batch",
                          first - bad.begin()));
}

}  // namespace

Matrix Decoder::Embed(IdSpans sequences, size_t rows) const {
  const Weight embedding = source_.Embedding();
  Matrix x(rows, source_.config().hidden_size);
  size_t t = 0;
  for (const std::span<const int32_t> ids : sequences) {
    RequireInVocabulary(ids, source_.config().vocab_size);
    for (const int32_t id : ids) {
      RowsToFloat(embedding, static_cast<size_t>(id), x.view().Rows(t++, 1));
    }
  }
  return x;
}

Matrix Decoder::RunLayers(IdSpans sequences, const Observer& observer, const OnLayer& on_layer) const {
  const std::vector<SequenceRows> placed = PlaceSequences(sequences);
  size_t rows = 0, longest = 0;
  for (const std::span<const int32_t> ids : sequences) {
    rows += ids.size();
    longest = std::max(longest, ids.size());
  }
  Matrix x = Embed(sequences, rows);
  if (observer) observer("embed", x.view());
  const RopeTable rope = MakeRopeTable(source_.config(), longest);
  for (size_t layer = 0; layer < source_.config().num_hidden_layers; ++layer) {
    if (!placed.empty()) {
      const PreparedLayer prepared(source_.Layer(layer), backend_);
      prepared.Run(source_.config(), rope, placed, x.view());
    }
    source_.RequireIntact();
    RequireFiniteRows(x.view(), placed, fmt::format("layer {}", layer), backend_.threads());
    if (observer) observer(fmt::format("layer{}", layer), x.view());
    if (on_layer) on_layer(layer);
  }
  return x;
}

Matrix Decoder::Forward(std::span<const TokenIds> sequences, const Observer& observer) const {
  const std::vector<std::span<const int32_t>> spans(sequences.begin(), sequences.end());
  Matrix x = RunLayers(spans, observer, {});
  backend_.RmsNorm(x.view(), source_.FinalNorm(), static_cast<float>(source_.config().rms_norm_eps),
                   x.view());
  source_.RequireIntact();
  if (observer) observer("final_norm", x.view());
  return x;
}

std::vector<std::vector<TokenScore>> Decoder::Score(std::span<const ScoreRequest> requests,
                                                    const OnLayer& on_layer) const {
  std::vector<std::span<const int32_t>> inputs;
  size_t scored = 0;
  for (const ScoreRequest& r : requests) {
    LOWBIT_ASSERT(r.first_scored >= 1 && r.first_scored < r.ids.size());
    inputs.push_back(r.ids.first(r.ids.size() - 1));  // the last token is only a target
    RequireInVocabulary(r.ids.last(1), source_.config().vocab_size);
    scored += r.ids.size() - r.first_scored;
  }
  Matrix x = RunLayers(inputs, {}, on_layer);

  // Row t predicts token t + 1. Only rows that predict a scored token go through the head.
  Matrix rows(scored, source_.config().hidden_size);
  std::vector<int32_t> targets;
  targets.reserve(scored);
  size_t begin = 0;
  for (const ScoreRequest& r : requests) {
    for (size_t i = r.first_scored; i < r.ids.size(); ++i) {
      std::copy_n(x.view().Row(begin + i - 1), x.cols(), rows.view().Row(targets.size()));
      targets.push_back(r.ids[i]);
    }
    begin += r.ids.size() - 1;
  }
  backend_.RmsNorm(rows.view(), source_.FinalNorm(), static_cast<float>(source_.config().rms_norm_eps),
                   rows.view());
  const std::vector<TokenScore> flat = backend_.ScoreTargets(rows.view(), source_.Head(), targets);
  source_.RequireIntact();

  std::vector<std::vector<TokenScore>> scores;
  auto next = flat.begin();
  for (const ScoreRequest& r : requests) {
    const auto count = static_cast<std::ptrdiff_t>(r.ids.size() - r.first_scored);
    scores.emplace_back(next, next + count);
    next += count;
  }
  return scores;
}

}  // namespace lowbit
