// SPDX-License-Identifier: Apache-2.0
// One decoder layer: norm, attention, residual, norm, gated MLP or mixture of them, residual.
// Source: docs/models.md.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lowbit/kernels/backend.h"
#include "lowbit/model/layer_source.h"

namespace lowbit {

// Rows that pass through attention together, at most, unless one sequence has more. Scratch memory grows
// with it; results do not depend on it.
inline constexpr size_t kRowsPerGroup = 4096;
// Rows that pass through a gated MLP together: its inner activations are the widest of a layer.
inline constexpr size_t kRowsPerMlp = 1024;

// A linear in the layout its backend multiplies.
struct PreparedLinear {
  std::unique_ptr<Prepared> weight;
  std::vector<float> bias;

  operator Affine() const { return {*weight, bias}; }
};

// Activations inside a layer, of one group of sequences. Reused from layer to layer where memory allows: fresh
// memory costs a page fault per 4 KiB.
struct LayerScratch {
  // Room for `rows` rows, and for keys and values of `past_rows` more; keeps what is large enough.
  void Reserve(const ModelConfig& config, size_t rows, bool has_mlp, size_t past_rows = 0);
  Matrix normed, q, k, v, mixed, inner;
};

// Whole neighbouring sequences that pass through attention together.
struct RowGroup {
  size_t first = 0, rows = 0;
  std::vector<SequenceRows> sequences;  // counted from `first`
};
// Up to `rows_per_group` rows each, more where one sequence has more.
std::vector<RowGroup> GroupSequences(std::span<const SequenceRows> sequences, size_t rows_per_group);
size_t MostRows(std::span<const RowGroup> groups);  // of one; 0 without groups

// What rows pass through between attention's norm and o_proj.
struct AttentionLinears {
  Affine q, k, v;
  std::span<const float> q_norm = {}, k_norm = {};  // empty in families without
};
// mixed [rows, heads * head_dim] = what o_proj reads, of normalized rows. `scratch` has room for them.
void MixHeads(const Backend& backend, const ModelConfig& config, const RopeTable& rope,
              std::span<const SequenceRows> sequences, const AttentionLinears& linears,
              MatView<const float> normed, LayerScratch& scratch, MatView<float> mixed);

// Normalizes every head of x[rows, heads * head_dim] by one weight of head_dim values; an empty one does nothing:
// families without.
void NormHeads(const Backend& backend, const ModelConfig& config, std::span<const float> norm,
               MatView<float> x);

class BranchPath;   // branch_path.h
struct TreeBranch;  // prefix_tree.h

// What a layer does to rows; made once per layer and job, by one thread.
class PreparedLayer {
 public:
  // Copies the weights into the backend's layout, except those of experts: they are prepared one expert at a
  // time while rows pass, so `source` must outlive this, and its mapped pages are read again by Run.
  PreparedLayer(const LayerSource& source, size_t index, const Backend& backend);
  ~PreparedLayer();

  // x[rows, hidden] = layer(x), for whole sequences, which are taken in groups of up to `rows_per_group`
  // rows. Rows outside `sequences` are not touched. `on_router` sees a mixture's router logits [rows, experts].
  using OnRouter = std::function<void(MatView<const float> logits)>;
  void Run(const RopeTable& rope, std::span<const SequenceRows> sequences, size_t rows_per_group,
           MatView<float> x, LayerScratch& scratch, const OnRouter& on_router = {}) const;

  // The same for neighbouring branches of a tree of sequences, whose rows x holds, bit for bit. `path` holds keys
  // and values of the way to the first of them, and comes to hold those of the way to the last one's end: calls go
  // through a layer's branches in order, and begin with an empty path.
  void RunBranches(const RopeTable& rope, std::span<const TreeBranch> branches, size_t rows_per_group,
                   BranchPath& path, MatView<float> x, LayerScratch& scratch) const;

 private:
  void Attend(const RopeTable& rope, std::span<const SequenceRows> sequences, MatView<float> x,
              LayerScratch& scratch) const;
  void AttendBranches(const RopeTable& rope, std::span<const TreeBranch> branches, BranchPath& path,
                      MatView<float> x, LayerScratch& scratch) const;
  void RunMlp(MatView<float> x, LayerScratch& scratch) const;
  void RunExperts(MatView<float> x, const OnRouter& on_router) const;
  void RunExpert(size_t expert, MatView<const float> normed, std::span<const uint32_t> rows,
                 std::span<const float> weights, MatView<float> x) const;
  PreparedLinear Take(LayerWeights& weights, const std::string& name) const;

  const ModelConfig& config_;
  const LayerLayout& layout_;
  const Backend& backend_;
  std::vector<float> input_norm_, post_norm_, q_norm_, k_norm_;
  PreparedLinear q_, k_, v_, o_;
  PreparedLinear gate_, up_, down_;  // of a dense layer
  PreparedLinear router_;            // of a mixture
  LayerWeights experts_;
};

}  // namespace lowbit
