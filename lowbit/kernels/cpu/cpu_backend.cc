// SPDX-License-Identifier: Apache-2.0
#include "lowbit/kernels/cpu/cpu_backend.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "lowbit/kernels/cpu/attention.h"
#include "lowbit/kernels/cpu/gram.h"
#include "lowbit/kernels/cpu/heads.h"
#include "lowbit/kernels/cpu/onednn.h"
#include "lowbit/kernels/cpu/panels.h"
#include "lowbit/kernels/cpu/vector_ops.h"

namespace lowbit {
namespace {

constexpr size_t kRowsPerTask = 64;  // of row operations: some 100 kB of work
constexpr size_t kFormedRows = 512;  // rows that are copied as integers or rotated at once

class CpuBackend : public Backend {
 public:
  CpuBackend(Compute compute, const Threads& pool) : Backend(compute, pool) {}
  std::string_view Name() const override { return "cpu"; }
  std::string Isa() const override { return onednn::IsaName() + "+" + vector::IsaName(); }

  using Backend::Prepare;
  std::unique_ptr<Prepared> Prepare(const Weight& weight, Compute factors) const override {
    return std::make_unique<PackedPanels>(weight, factors, threads());
  }

  uint64_t PreparedBytes(size_t out, size_t in) const override {
    return out * in * (compute() == Compute::kBF16 ? sizeof(uint16_t) : sizeof(float));
  }
  uint64_t PreparedBytes(const PackedSettings& weight) const override {
    return weight.input.bits > 0 ? PackedPanels::IntegerBytes(weight)
                                 : PreparedBytes(weight.rows, weight.cols);
  }

  void Multiply(MatView<const float> x, std::span<const Product> products) const override {
    std::vector<const PackedPanels*> weights;
    for (const Product& product : products) weights.push_back(&PanelsOf(product.affine));
    ForPieces(x, weights,
              [&](size_t first, MatView<const float> some) { MultiplySome(some, products, first); });
  }

  void GatedMultiply(MatView<const float> x, const Affine& gate, const Affine& up,
                     MatView<float> y) const override {
    const std::array<const PackedPanels*, 2> weights = {&PanelsOf(gate), &PanelsOf(up)};
    ForPieces(x, weights, [&](size_t first, MatView<const float> some) {
      GatedMultiplySome(some, gate, up, y.Rows(first, some.rows));
    });
  }

  void RmsNorm(MatView<const float> x, std::span<const float> weight, float eps,
               MatView<float> y) const override {
    ForRows(x.rows, [&](size_t t) { vector::RmsNormRow(x.Row(t), weight.data(), eps, y.Row(t), x.cols); });
  }

  void Rope(MatView<float> x, const RopeTable& table,
            std::span<const SequenceRows> sequences) const override {
    const size_t half = table.cos.cols(), heads = x.cols / (2 * half);
    for (const SequenceRows& s : sequences) {
      ForRows(s.end - s.begin, [&](size_t t) {
        const float* cos = table.cos.view().Row(s.first_position + t);
        const float* sin = table.sin.view().Row(s.first_position + t);
        for (size_t h = 0; h < heads; ++h)
          vector::RopeHead(x.Row(s.begin + t) + h * 2 * half, cos, sin, half);
      });
    }
  }

  void Attention(MatView<const float> q, MatView<const float> k, MatView<const float> v, AttentionShape shape,
                 std::span<const SequenceRows> sequences, MatView<float> out) const override {
    BlockedAttention(threads(), q, k, v, shape, sequences, out);
  }

  void AttendBranches(MatView<const float> q, MatView<const float> k, MatView<const float> v,
                      AttentionShape shape, std::span<const BranchRows> branches,
                      MatView<float> out) const override {
    BlockedBranchAttention(threads(), q, k, v, shape, branches, out);
  }

  void Add(MatView<float> x, MatView<const float> y) const override {
    ForRows(x.rows, [&](size_t t) { vector::AddRow(x.Row(t), y.Row(t), x.cols); });
  }

  void AddWeightedRows(MatView<const float> x, std::span<const uint32_t> rows, std::span<const float> weights,
                       MatView<float> y) const override {
    ForRows(x.rows, [&](size_t i) { vector::AddWeightedRow(y.Row(rows[i]), weights[i], x.Row(i), x.cols); });
  }

  std::vector<TokenScore> ScoreTargets(MatView<const float> x, const Weight& head,
                                       std::span<const int32_t> targets) const override {
    return ScorePanels(threads(), compute(), {x, head}, targets);
  }

  void AddGram(MatView<const float> x, MatView<double> gram) const override {
    AddGramTiles(threads(), compute(), x, gram);
  }

  std::vector<ComparedRow> CompareHeads(MatView<const float> x, const Weight& head,
                                        MatView<const float> other, const Weight& other_head,
                                        std::span<const int32_t> targets) const override {
    return ComparePanels(threads(), compute(), {x, head}, {other, other_head}, targets);
  }

 private:
  static const PackedPanels& PanelsOf(const Affine& affine) {
    return static_cast<const PackedPanels&>(affine.weight);
  }

  // body(first, some rows): all at once, but not so many that copies in another form take much memory.
  template <class F>
  static void ForPieces(MatView<const float> x, std::span<const PackedPanels* const> weights, const F& body) {
    const bool is_plain =
        std::ranges::all_of(weights, [](const PackedPanels* w) { return w->layout().form.IsPlain(); });
    const size_t most = is_plain ? x.rows : kFormedRows;
    for (size_t first = 0; first < x.rows; first += most)
      body(first, x.Rows(first, std::min(most, x.rows - first)));
  }

  // Of rows [first, first + x.rows) of the products.
  void MultiplySome(MatView<const float> x, std::span<const Product> products, size_t first) const {
    InputRows inputs(x, threads());
    // Panels of all products in one list: fewer places where threads wait for each other.
    struct Panel {
      const Product& product;
      const PackedPanels& weight;
      const TiledRows& rows;
      size_t index;
    };
    std::vector<Panel> panels;
    for (const Product& product : products) {
      const PackedPanels& weight = PanelsOf(product.affine);
      const TiledRows& rows = inputs.In(weight.layout());
      for (size_t p = 0; p < weight.panels(); ++p) panels.push_back({product, weight, rows, p});
    }
    ForTiles(panels.size(), (x.rows + kTileRows - 1) / kTileRows, 1,
             [&](size_t i, size_t tile, float* result) {
               const auto& [product, weight, rows, p] = panels[i];
               weight.Multiply(p, rows, tile, result);
               StoreTile(product, p * kPanelColumns, weight.Width(p), first + tile * kTileRows,
                         rows.TileHeight(tile), result);
             });
  }

  void GatedMultiplySome(MatView<const float> x, const Affine& gate, const Affine& up,
                         MatView<float> y) const {
    const PackedPanels &gates = PanelsOf(gate), &ups = PanelsOf(up);
    InputRows inputs(x, threads());
    const TiledRows &rows = inputs.In(gates.layout()), &up_rows = inputs.In(ups.layout());
    ForTiles(gates.panels(), rows.tiles(), 2, [&](size_t p, size_t tile, float* result) {
      const size_t begin = p * kPanelColumns, width = gates.Width(p);
      float* up_result = result + kTileRows * kPanelColumns;
      gates.Multiply(p, rows, tile, result);
      ups.Multiply(p, up_rows, tile, up_result);
      for (size_t r = 0; r < rows.TileHeight(tile); ++r) {
        float *g = result + r * width, *u = up_result + r * width;
        if (!gate.bias.empty()) vector::AddRow(g, gate.bias.data() + begin, width);
        if (!up.bias.empty()) vector::AddRow(u, up.bias.data() + begin, width);
        vector::SiluMultiply(g, u, y.Row(tile * kTileRows + r) + begin, width);
      }
    });
  }

  // body(panel, tile, result) with memory for `results` tiles. Panel-major: neighbouring tasks share a
  // panel, which stays in cache.
  template <class F>
  void ForTiles(size_t panels, size_t tiles, size_t results, const F& body) const {
    std::vector<Buffer<float>> memory(static_cast<size_t>(threads().count()));
    threads().ForSlots(panels * tiles, [&](size_t task, size_t slot) {
      if (memory[slot].size() == 0) memory[slot] = Buffer<float>(results * kTileRows * kPanelColumns);
      body(task / tiles, task % tiles, memory[slot].data());
    });
  }

  static void StoreTile(const Product& product, size_t column, size_t width, size_t first_row, size_t height,
                        float* result) {
    for (size_t r = 0; r < height; ++r) {
      float *row = result + r * width, *to = product.y.Row(first_row + r) + column;
      if (!product.affine.bias.empty()) vector::AddRow(row, product.affine.bias.data() + column, width);
      if (product.adds) {
        vector::AddRow(to, row, width);
      } else {
        std::memcpy(to, row, width * sizeof(float));
      }
    }
  }

  template <class F>
  void ForRows(size_t rows, const F& body) const {
    threads().For((rows + kRowsPerTask - 1) / kRowsPerTask, [&](size_t task) {
      const size_t end = std::min(rows, (task + 1) * kRowsPerTask);
      for (size_t t = task * kRowsPerTask; t < end; ++t) body(t);
    });
  }
};

}  // namespace

bool CpuPrefersBF16() {
  return onednn::HasFastBF16();
}

std::unique_ptr<Backend> MakeCpuBackend(Compute compute, const Threads& threads) {
  return std::make_unique<CpuBackend>(compute, threads);
}

}  // namespace lowbit
