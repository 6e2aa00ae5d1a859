// SPDX-License-Identifier: Apache-2.0
// Scoring a prefix tree: the decoder's pass over branches in place of sequences.
#include <algorithm>

#include "lowbit/base/memory.h"
#include "lowbit/model/activations.h"
#include "lowbit/model/branch_path.h"
#include "lowbit/model/decoder.h"
#include "lowbit/model/decoder_head.h"
#include "lowbit/model/rope.h"
#include "lowbit/model/token_rows.h"

namespace lowbit {
namespace {

using Branches = std::span<const TreeBranch>;

// Neighbouring branches whose rows are in memory together.
std::vector<Branches> CutIntoPieces(Branches branches, size_t rows_in_memory) {
  std::vector<Branches> pieces;
  size_t first = 0, rows = 0;
  for (size_t i = 0; i < branches.size(); ++i) {
    if (i > first && rows + branches[i].rows > rows_in_memory) {
      pieces.push_back(branches.subspan(first, i - first));
      first = i;
      rows = 0;
    }
    rows += branches[i].rows;
  }
  if (first < branches.size()) pieces.push_back(branches.subspan(first));
  return pieces;
}

size_t FirstRow(Branches piece) {
  return piece.front().first_row;
}

size_t RowsOf(Branches piece) {
  return piece.back().first_row + piece.back().rows - FirstRow(piece);
}

}  // namespace

// One pass of a tree through the model.
class Decoder::TreePass {
 public:
  TreePass(const Decoder& decoder, const PrefixTree& tree, const ForwardPlan& plan)
      : decoder_(decoder),
        tree_(tree),
        plan_(plan),
        pieces_(CutIntoPieces(tree.branches(), plan.rows_in_memory)) {
    const size_t hidden = decoder.config().hidden_size;
    size_t most = 0;
    for (const Branches piece : pieces_) most = std::max(most, RowsOf(piece));
    x_ = plan.scratch_file
             ? std::make_unique<Activations>(tree.rows(), hidden, decoder.budget_.ScratchFolder(), most)
             : std::make_unique<Activations>(tree.rows(), hidden);
  }

  void Embed() {
    TokenRows rows(decoder_.source_);
    std::vector<int32_t> ids;
    for (const Branches piece : pieces_) {
      const MatView<float> x = x_->Load(FirstRow(piece), RowsOf(piece), true);
      for (const TreeBranch& branch : piece) {
        ids.clear();
        for (size_t i = 0; i < branch.rows; ++i)
          ids.push_back(tree_.requests()[branch.request].At(branch.first_position + i));
        rows.LookUp(ids, x.Rows(branch.first_row - FirstRow(piece), branch.rows));
      }
      x_->Store();
    }
  }

  void RunLayers(const OnLayer& on_layer) {
    const ModelConfig& config = decoder_.config();
    const RopeTable rope = MakeRopeTable(config, tree_.longest());
    std::unique_ptr<PreparedLayer> own;
    LayerScratch scratch;
    BranchPath path(tree_.longest(), config.KeyValueSize());
    for (size_t layer = 0; layer < config.num_hidden_layers; ++layer) {
      const PreparedLayer& prepared = decoder_.LayerFor(layer, plan_, own);
      path.Clear();
      for (const Branches piece : pieces_) {
        const MatView<float> x = x_->Load(FirstRow(piece), RowsOf(piece));
        prepared.RunBranches(rope, piece, plan_.rows_per_group, path, x, scratch);
        decoder_.source_.RequireIntact();
        RequireFinite(piece, x, layer);
        x_->Store();
      }
      if (!plan_.keeps_scratch) scratch = {};
      if (decoder_.source_.layout().layers[layer].experts) decoder_.source_.Release(layer);
      if (on_layer) on_layer(layer);
    }
    own.reset();
    TrimMemory();
  }

  std::vector<std::vector<TokenScore>> Score() {
    std::vector<std::vector<TokenScore>> scores;
    for (const ContinuedRequest& request : tree_.requests()) scores.emplace_back(request.continuation.size());
    const RowObserver nobody;
    HeadRows head(decoder_, tree_.scored().size(), nobody);
    auto next = tree_.scored().begin();
    for (const Branches piece : pieces_) {
      const MatView<float> x = x_->Load(FirstRow(piece), RowsOf(piece));
      for (; next != tree_.scored().end() && next->row < FirstRow(piece) + x.rows; ++next) {
        head.Add(x.Row(next->row - FirstRow(piece)),
                 tree_.requests()[next->request].continuation[next->token],
                 scores[next->request][next->token]);
      }
    }
    head.Finish();
    return scores;
  }

 private:
  void RequireFinite(Branches piece, MatView<const float> x, size_t layer) const {
    std::vector<SequenceRows> rows;
    for (const TreeBranch& branch : piece) {
      const size_t begin = branch.first_row - FirstRow(piece);
      rows.push_back({begin, begin + branch.rows, 0});
    }
    const std::optional<size_t> bad = FirstNotFinite(x, rows, decoder_.backend_.threads());
    if (!bad) return;
    throw Error(ErrorKind::kNumeric, Place().Item(fmt::format("layer {}", layer)),
                fmt::format("its output holds NaN or infinite values, first in sequence {} of the batch",
                            piece[*bad].request));
  }

  const Decoder& decoder_;
  const PrefixTree& tree_;
  const ForwardPlan& plan_;
  std::vector<Branches> pieces_;
  std::unique_ptr<Activations> x_;
};

ForwardJob Decoder::JobOf(const PrefixTree& tree, bool repeats) {
  ForwardJob job{.sequences = tree.branches().size(), .rows = tree.rows(), .longest = tree.longest()};
  job.scored = tree.scored().size();
  job.repeats = repeats;
  job.branches = true;
  return job;
}

std::vector<std::vector<TokenScore>> Decoder::ScoreTree(const PrefixTree& tree, const OnLayer& on_layer,
                                                        bool repeats) const {
  if (tree.requests().empty()) return {};
  for (const ContinuedRequest& request : tree.requests()) {
    RequireInVocabulary(request.context, config().vocab_size);
    RequireInVocabulary(request.continuation, config().vocab_size);
  }
  const ForwardPlan plan = PlanForward(source_, backend_, JobOf(tree, repeats), budget_);
  TreePass pass(*this, tree, plan);
  pass.Embed();
  pass.RunLayers(on_layer);
  std::vector<std::vector<TokenScore>> scores = pass.Score();
  source_.RequireIntact();
  return scores;
}

}  // namespace lowbit
