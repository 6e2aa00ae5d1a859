// SPDX-License-Identifier: Apache-2.0
// Room kernels: arithmetic on tensors behind one Backend.
// In:  views of f32 activations, weights dense or packed.   Out: f32 activations, log-probabilities.
// Non-goals: which layer calls what (model). Kernels check nothing in release: callers pass what fits.
// Start reading here; ref/ is the specification in plain loops, cpu/ the fast one that must agree with it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/base/threads.h"
#include "lowbit/tensor/buffer.h"
#include "lowbit/tensor/weight.h"

namespace lowbit {

// Type of the two factors of a matrix product. Sums, norms, softmax and the residual stream are always f32.
enum class Compute : uint8_t { kF32, kBF16 };
std::string_view Name(Compute compute);  // "f32", "bf16"

// A weight matrix in the layout its backend multiplies fastest. Owned by the caller.
class Prepared {
 public:
  virtual ~Prepared() = default;
  virtual size_t out() const = 0;
  virtual size_t in() const = 0;
};

// x ↦ x Wᵀ + bias; an empty bias adds nothing.
struct Affine {
  const Prepared& weight;
  std::span<const float> bias = {};
};

// y[T, out] = x[T, in] Wᵀ + bias, or y += that.
struct Product {
  Affine affine;
  MatView<float> y;
  bool adds = false;
};

// Rows [begin, end) of a batch are one sequence; its first row has position `first_position`.
struct SequenceRows {
  size_t begin = 0, end = 0;
  size_t first_position = 0;
};

// Rows [begin, end).
struct RowRun {
  size_t begin = 0, end = 0;
};

// Rows [begin, end) of a batch continue a sequence whose beginning others may share. Its keys and values stand in
// `keys`, runs of rows of k and v, of positions 0, 1, …; the last of them are those of the branch's own rows.
struct BranchRows {
  size_t begin = 0, end = 0;
  std::vector<RowRun> keys = {};

  size_t Positions() const {
    size_t positions = 0;
    for (const RowRun& run : keys) positions += run.end - run.begin;
    return positions;
  }
};

// Grouped-query attention: query head j reads key/value head j / (heads / kv_heads).
struct AttentionShape {
  size_t heads = 0, kv_heads = 0, head_dim = 0;
};

// cos and sin of position × frequency, [positions, head_dim / 2] each.
struct RopeTable {
  Matrix cos, sin;
};

// What the head says about one row: how likely `target` comes next.
struct TokenScore {
  double log_prob = 0;  // natural logarithm
  bool greedy = false;  // target has the largest logit (lowest id on ties)
};

// Two models' predictions of the same token.
struct RowDivergence {
  double kl = 0;          // Σ p log(p / q) in nats, p the first model's
  bool same_top = false;  // both find the same token the most likely (lowest id on ties)
};

struct ComparedRow {
  TokenScore score;  // of the second model
  RowDivergence divergence;
};

inline constexpr size_t kGramRows = 512;

// Every operation's result depends on its own rows only: not on the number of threads, not on what else
// is in the batch.
class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view Name() const = 0;  // "ref", "cpu"
  virtual std::string Isa() const = 0;        // instruction set in use, for provenance
  Compute compute() const { return compute_; }
  const Threads& threads() const { return threads_; }

  // For products in `factors`; by default in the backend's own compute type.
  virtual std::unique_ptr<Prepared> Prepare(const Weight& weight, Compute factors) const = 0;
  std::unique_ptr<Prepared> Prepare(const Weight& weight) const { return Prepare(weight, compute_); }

  // Bytes that a prepared weight takes; of a packed one as its inputs want it.
  virtual uint64_t PreparedBytes(size_t out, size_t in) const = 0;
  virtual uint64_t PreparedBytes(const PackedSettings& weight) const = 0;

  // The products of one input, x[T, in], with weights prepared for one compute type. Bit for bit what they
  // are one by one.
  virtual void Multiply(MatView<const float> x, std::span<const Product> products) const = 0;
  void Gemm(MatView<const float> x, const Prepared& weight, std::span<const float> bias,
            MatView<float> y) const {
    const Product product{{weight, bias}, y};
    Multiply(x, {&product, 1});
  }

  // y[T, out] = silu(x · gate) ⊙ (x · up), bit for bit Multiply and then SwiGLU.
  virtual void GatedMultiply(MatView<const float> x, const Affine& gate, const Affine& up,
                             MatView<float> y) const = 0;

  // y[t] = x[t] / sqrt(mean(x[t]²) + eps) ⊙ weight. x and y may be the same.
  virtual void RmsNorm(MatView<const float> x, std::span<const float> weight, float eps,
                       MatView<float> y) const = 0;

  // Rotates each head of x[T, heads * head_dim] in place; element i pairs with i + head_dim / 2.
  virtual void Rope(MatView<float> x, const RopeTable& table,
                    std::span<const SequenceRows> sequences) const = 0;

  // Causal softmax attention within each sequence. q, out [T, heads * head_dim]; k, v [T, kv_heads *
  // head_dim].
  virtual void Attention(MatView<const float> q, MatView<const float> k, MatView<const float> v,
                         AttentionShape shape, std::span<const SequenceRows> sequences,
                         MatView<float> out) const = 0;

  // The same for branches. q, out [T, heads * head_dim]; k, v have the rows that the branches name. A row's result
  // is bit for bit what Attention gives it in a sequence of its own.
  virtual void AttendBranches(MatView<const float> q, MatView<const float> k, MatView<const float> v,
                              AttentionShape shape, std::span<const BranchRows> branches,
                              MatView<float> out) const = 0;

  // x += y.
  virtual void Add(MatView<float> x, MatView<const float> y) const = 0;

  // y[rows[i]] += weights[i] · x[i]. No row twice.
  virtual void AddWeightedRows(MatView<const float> x, std::span<const uint32_t> rows,
                               std::span<const float> weights, MatView<float> y) const = 0;

  // Scores targets[t] under softmax(x[t] Wᵀ), W [vocabulary, in], without ever holding T × vocabulary.
  // A mapped head leaves this process's memory piece by piece, when it is done with.
  virtual std::vector<TokenScore> ScoreTargets(MatView<const float> x, const Weight& head,
                                               std::span<const int32_t> targets) const = 0;

  // gram[i, j] += Σ_t x[t, i] x[t, j] for i <= j; what is below the diagonal is not touched. Sums of up to
  // kGramRows rows are f32, of more f64: calls that begin at multiples of kGramRows rows give the same bits
  // as one call.
  virtual void AddGram(MatView<const float> x, MatView<double> gram) const = 0;

  // ScoreTargets(other, other_head, targets), bit for bit, and how that prediction differs from what `head` says about
  // x[t], row by row, without ever holding T × vocabulary. Both heads [vocabulary, in].
  virtual std::vector<ComparedRow> CompareHeads(MatView<const float> x, const Weight& head,
                                                MatView<const float> other, const Weight& other_head,
                                                std::span<const int32_t> targets) const = 0;

 protected:
  Backend(Compute compute, const Threads& threads) : compute_(compute), threads_(threads) {}

 private:
  Compute compute_;
  const Threads& threads_;
};

// The rows of kBackends, for --help.
std::vector<std::string> BackendNames();

// `name` "cpu" or "ref"; `compute` "f32", "bf16" or "auto" (bf16 where this CPU multiplies it clearly
// faster than f32). Throws Error{kUsage} for another word. `threads` must outlive the backend.
std::unique_ptr<Backend> MakeBackend(std::string_view name, std::string_view compute, const Threads& threads);

}  // namespace lowbit
