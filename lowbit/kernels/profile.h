// SPDX-License-Identifier: Apache-2.0
// Where the time of a forward pass goes, operation by operation.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lowbit/kernels/backend.h"

namespace lowbit {

struct ProfileRow {
  std::string operation;  // "product 1024 → 4096", "attention"
  size_t calls = 0;
  double seconds = 0;
  double flop = 0;  // 0 where work is counted in bytes rather
  double own_rate =
      0;  // flop per second of this product alone, over and over on hot memory; 0 = not measured
};

// Does what another backend does and measures it. For one calling thread.
class ProfiledBackend : public Backend {
 public:
  explicit ProfiledBackend(std::unique_ptr<Backend> inner);
  ~ProfiledBackend() override;

  std::string_view Name() const override { return inner_->Name(); }
  std::string Isa() const override { return inner_->Isa(); }
  using Backend::Prepare;
  std::unique_ptr<Prepared> Prepare(const Weight& weight, Compute factors) const override;
  uint64_t PreparedBytes(size_t out, size_t in) const override { return inner_->PreparedBytes(out, in); }
  uint64_t PreparedBytes(const PackedSettings& weight) const override {
    return inner_->PreparedBytes(weight);
  }
  void Multiply(MatView<const float> x, std::span<const Product> products) const override;
  void GatedMultiply(MatView<const float> x, const Affine& gate, const Affine& up,
                     MatView<float> y) const override;
  void RmsNorm(MatView<const float> x, std::span<const float> weight, float eps,
               MatView<float> y) const override;
  void Rope(MatView<float> x, const RopeTable& table, std::span<const SequenceRows> sequences) const override;
  void Attention(MatView<const float> q, MatView<const float> k, MatView<const float> v, AttentionShape shape,
                 std::span<const SequenceRows> sequences, MatView<float> out) const override;
  void AttendBranches(MatView<const float> q, MatView<const float> k, MatView<const float> v,
                      AttentionShape shape, std::span<const BranchRows> branches,
                      MatView<float> out) const override;
  void Add(MatView<float> x, MatView<const float> y) const override;
  void AddWeightedRows(MatView<const float> x, std::span<const uint32_t> rows, std::span<const float> weights,
                       MatView<float> y) const override;
  std::vector<TokenScore> ScoreTargets(MatView<const float> x, const Weight& head,
                                       std::span<const int32_t> targets) const override;
  void AddGram(MatView<const float> x, MatView<double> gram) const override;
  std::vector<ComparedRow> CompareHeads(MatView<const float> x, const Weight& head,
                                        MatView<const float> other, const Weight& other_head,
                                        std::span<const int32_t> targets) const override;

  void Reset() { rows_.clear(); }
  // What was called since, most time first. Measures the products' own rates, which takes a second or two.
  std::vector<ProfileRow> Rows() const;

 private:
  template <class F>
  auto Timed(const std::string& operation, double flop, F&& body) const;
  double OwnRate(size_t in, size_t out) const;

  std::unique_ptr<Backend> inner_;
  struct Row {
    ProfileRow shown;
    size_t in = 0, out = 0;  // of a product
  };
  mutable std::map<std::string, Row> rows_;
};

// A table for people, with shares of `wall` seconds.
std::string ProfileText(const std::vector<ProfileRow>& rows, double wall);

}  // namespace lowbit
