// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/decoder.h"

#include <algorithm>

#include "lowbit/base/memory.h"
#include "lowbit/model/activations.h"
#include "lowbit/model/decoder_head.h"
#include "lowbit/model/rope.h"
#include "lowbit/model/token_rows.h"

namespace lowbit {
namespace {

using Ids = std::span<const int32_t>;

// `first` sequence of the batch that `sequences` begin with.
void RequireFiniteRows(MatView<const float> x, std::span<const SequenceRows> sequences, size_t first,
                       std::string_view where, const Threads& threads) {
  const std::optional<size_t> bad = FirstNotFinite(x, sequences, threads);
  if (!bad) return;
  throw Error(ErrorKind::kNumeric, Place().Item(std::string(where)),
              fmt::format("its output holds NaN or infinite values, first in sequence {} of the batch",
                          first + *bad));
}

// Rows of the batch that are in memory together: whole sequences, in rows from 0.
struct Piece {
  size_t first_row = 0, rows = 0, first_sequence = 0;
  std::vector<SequenceRows> sequences;
};

std::vector<Piece> CutIntoPieces(std::span<const Ids> sequences, size_t rows_in_memory) {
  std::vector<Piece> pieces;
  size_t row = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const size_t count = sequences[i].size();
    if (pieces.empty() || pieces.back().rows + count > rows_in_memory) {
      pieces.emplace_back().first_row = row;
      pieces.back().first_sequence = i;
    }
    Piece& piece = pieces.back();
    if (count > 0) piece.sequences.push_back({piece.rows, piece.rows + count, 0});
    piece.rows += count;
    row += count;
  }
  return pieces;
}

}  // namespace

struct Decoder::Batch {
  Batch(std::vector<Ids> inputs, size_t hidden, const ForwardPlan& plan, const std::string& scratch)
      : ids(std::move(inputs)), pieces(CutIntoPieces(ids, plan.rows_in_memory)) {
    size_t rows = 0, most = 0;
    for (const Piece& piece : pieces) {
      rows += piece.rows;
      most = std::max(most, piece.rows);
    }
    x = plan.scratch_file ? std::make_unique<Activations>(rows, hidden, scratch, most)
                          : std::make_unique<Activations>(rows, hidden);
  }
  std::vector<Ids> ids;
  std::vector<Piece> pieces;
  std::unique_ptr<Activations> x;
};

Decoder::~Decoder() = default;

void Decoder::Embed(Batch& batch) const {
  TokenRows rows(source_);
  size_t sequence = 0;
  for (const Piece& piece : batch.pieces) {
    const MatView<float> x = batch.x->Load(piece.first_row, piece.rows, true);
    for (size_t t = 0; t < piece.rows; t += batch.ids[sequence++].size()) {
      rows.LookUp(batch.ids[sequence], x.Rows(t, batch.ids[sequence].size()));
    }
    batch.x->Store();
  }
}

const PreparedLayer& Decoder::LayerFor(size_t index, const ForwardPlan& plan,
                                       std::unique_ptr<PreparedLayer>& own) const {
  if (!plan.keeps_layers) kept_.clear();
  if (index < kept_.size()) return *kept_[index];
  own.reset();  // before the next one takes memory
  auto made = std::make_unique<PreparedLayer>(source_, index, backend_);
  if (!source_.layout().layers[index].experts) source_.Release(index);
  if (index + 1 < config().num_hidden_layers) source_.Prefetch(index + 1);
  if (!plan.keeps_layers) return *(own = std::move(made));
  return *kept_.emplace_back(std::move(made));
}

void Decoder::RunLayers(Batch& batch, const ForwardPlan& plan, const Observer& observer,
                        const OnLayer& on_layer) const {
  size_t longest = 0;
  for (const Ids ids : batch.ids) {
    RequireInVocabulary(ids, config().vocab_size);
    longest = std::max(longest, ids.size());
  }
  Embed(batch);
  const auto observe = [&](const std::string& name) {
    for (const Piece& piece : batch.pieces) {
      if (observer) observer(name, piece.first_row, batch.x->Load(piece.first_row, piece.rows));
    }
  };
  observe("embed");
  const RopeTable rope = MakeRopeTable(config(), longest);
  std::unique_ptr<PreparedLayer> own;
  LayerScratch scratch;
  for (size_t layer = 0; layer < config().num_hidden_layers && longest > 0; ++layer) {
    const PreparedLayer& prepared = LayerFor(layer, plan, own);
    for (const Piece& piece : batch.pieces) {
      const MatView<float> x = batch.x->Load(piece.first_row, piece.rows);
      prepared.Run(rope, piece.sequences, plan.rows_per_group, x, scratch, [&](MatView<const float> logits) {
        if (observer) observer(fmt::format("router{}", layer), piece.first_row, logits);
      });
      source_.RequireIntact();
      RequireFiniteRows(x, piece.sequences, piece.first_sequence, fmt::format("layer {}", layer),
                        backend_.threads());
      batch.x->Store();
    }
    if (!plan.keeps_scratch) scratch = {};
    if (source_.layout().layers[layer].experts) source_.Release(layer);
    observe(fmt::format("layer{}", layer));
    if (on_layer) on_layer(layer);
  }
  own.reset();
  TrimMemory();
}

Matrix Decoder::Forward(std::span<const TokenIds> sequences, const Observer& observer) const {
  ForwardJob job{.sequences = sequences.size()};
  for (const TokenIds& ids : sequences) {
    job.rows += ids.size();
    job.longest = std::max(job.longest, ids.size());
  }
  const ForwardPlan plan = PlanForward(source_, backend_, job, budget_);
  Batch batch({sequences.begin(), sequences.end()}, config().hidden_size, plan, budget_.ScratchFolder());
  RunLayers(batch, plan, observer, {});
  Matrix result(job.rows, config().hidden_size);
  for (const Piece& piece : batch.pieces) {
    const MatView<float> rows = result.view().Rows(piece.first_row, piece.rows);
    backend_.RmsNorm(batch.x->Load(piece.first_row, piece.rows), source_.FinalNorm(),
                     static_cast<float>(config().rms_norm_eps), rows);
    if (observer) observer("final_norm", piece.first_row, rows);
  }
  source_.RequireIntact();
  return result;
}

ForwardJob Decoder::JobOf(std::span<const ScoreRequest> requests, bool repeats) {
  ForwardJob job{.sequences = requests.size(), .repeats = repeats};
  for (const ScoreRequest& r : requests) {
    job.rows += r.ids.size() - 1;  // the last token is only a target
    job.longest = std::max(job.longest, r.ids.size() - 1);
    job.scored += r.ids.size() - r.first_scored;
  }
  return job;
}

std::vector<std::vector<TokenScore>> Decoder::Score(std::span<const ScoreRequest> requests,
                                                    const OnLayer& on_layer, bool repeats,
                                                    const RowObserver& observer) const {
  std::vector<Ids> inputs;
  for (const ScoreRequest& r : requests) {
    LOWBIT_ASSERT(r.first_scored >= 1 && r.first_scored < r.ids.size());
    inputs.push_back(r.ids.first(r.ids.size() - 1));
    RequireInVocabulary(r.ids.last(1), config().vocab_size);
  }
  ForwardJob job = JobOf(requests, repeats);
  job.kept_bytes = observer.kept_bytes;
  job.compares = static_cast<bool>(observer.score);
  const ForwardPlan plan = PlanForward(source_, backend_, job, budget_);
  Batch batch(std::move(inputs), config().hidden_size, plan, budget_.ScratchFolder());
  RunLayers(batch, plan, {}, on_layer);

  // Row t predicts token t + 1. Only rows that predict a scored token go through the head, some at a time.
  std::vector<std::vector<TokenScore>> scores(requests.size());
  for (size_t i = 0; i < requests.size(); ++i)
    scores[i].resize(requests[i].ids.size() - requests[i].first_scored);
  HeadRows head(*this, batch.x->rows(), observer);
  size_t request = 0;
  for (const Piece& piece : batch.pieces) {
    const MatView<float> x = batch.x->Load(piece.first_row, piece.rows);
    for (const SequenceRows& sequence : piece.sequences) {
      const ScoreRequest& r = requests[request];
      for (size_t i = r.first_scored; i < r.ids.size(); ++i)
        head.Add(x.Row(sequence.begin + i - 1), r.ids[i], scores[request][i - r.first_scored]);
      ++request;
    }
  }
  head.Finish();
  source_.RequireIntact();
  return scores;
}

}  // namespace lowbit
