// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/staged_layer.h"

#include <gtest/gtest.h>

#include <bit>

#include "lowbit/base/test_folder.h"
#include "lowbit/model/rope.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

std::vector<uint32_t> BitsOf(MatView<const float> m) {
  std::vector<uint32_t> bits;
  for (size_t r = 0; r < m.rows; ++r) {
    for (const float v : m.RowSpan(r)) bits.push_back(std::bit_cast<uint32_t>(v));
  }
  return bits;
}

class StagedLayerOf : public testing::TestWithParam<const char*> {
 protected:
  static constexpr size_t kRows = 90;
  const std::vector<SequenceRows> sequences_ = {{0, 40, 0}, {40, 41, 0}, {41, 90, 0}};
  std::unique_ptr<LayerSource> source_ = OpenModel(std::string(LOWBIT_TESTDATA) + "/models/" + GetParam());
  Threads threads_{2};
  std::unique_ptr<Backend> backend_ = MakeBackend("cpu", "f32", threads_);
  RopeTable rope_ = MakeRopeTable(source_->config(), kRows);

  void Fill(Activations& x) const {
    const Matrix start = RandomMatrix(kRows, source_->config().hidden_size, 5);
    for (const SequenceRows& s : sequences_) {
      const MatView<float> rows = x.Load(s.begin, s.end - s.begin, true);
      for (size_t t = s.begin; t < s.end; ++t)
        std::ranges::copy(start.view().RowSpan(t), rows.Row(t - s.begin));
      x.Store();
    }
  }

  std::vector<uint32_t> AllOf(Activations& x) const {
    std::vector<uint32_t> bits;
    for (const SequenceRows& s : sequences_) {
      const auto some = BitsOf(x.Load(s.begin, s.end - s.begin));
      bits.insert(bits.end(), some.begin(), some.end());
    }
    return bits;
  }

  // The layer's output, and everything its readers saw.
  struct Seen {
    std::vector<uint32_t> output;
    std::map<std::string, std::vector<uint32_t>> inputs;
    bool operator==(const Seen&) const = default;
  };
  Seen RunStaged(size_t layer, size_t rows_per_group, const std::string& scratch_folder) const {
    const LayerLayout& layout = source_->layout().layers[layer];
    const LayerWeights weights = source_->Layer(layer);
    const auto x = ActivationsPlace{scratch_folder}.Make(kRows, source_->config().hidden_size, kRows);
    Fill(*x);
    StagedLayer staged(
        {source_->config(), layout, *backend_, rope_, sequences_, rows_per_group, {scratch_folder}}, weights,
        *x);
    Seen seen;
    for (const LayerStep& step : StepsOf(layout)) {
      std::vector<uint32_t>& bits = seen.inputs[step.tap];
      staged.Inputs(step, [&](MatView<const float> rows) {
        EXPECT_EQ(rows.cols, step.width);
        const auto some = BitsOf(rows);
        bits.insert(bits.end(), some.begin(), some.end());
      });
      staged.Advance(step, [&](const std::string& name) { return weights.linears.find(name)->second; });
    }
    seen.output = AllOf(*x);
    return seen;
  }
};
INSTANTIATE_TEST_SUITE_P(TinyModels, StagedLayerOf,
                         testing::Values("tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST_P(StagedLayerOf, GivesTheBitsOfTheLayerRunAtOnce) {
  const TestFolder folder;
  for (size_t layer = 0; layer < source_->config().num_hidden_layers; ++layer) {
    Matrix x = RandomMatrix(kRows, source_->config().hidden_size, 5);
    LayerScratch scratch;
    PreparedLayer(*source_, layer, *backend_).Run(rope_, sequences_, kRowsPerGroup, x.view(), scratch);
    const Seen whole = RunStaged(layer, kRowsPerGroup, "");
    EXPECT_EQ(whole.output, BitsOf(x.view()));
    EXPECT_EQ(whole, RunStaged(layer, 50, ""));
    EXPECT_EQ(whole, RunStaged(layer, 50, folder.path()));
  }
}

TEST_P(StagedLayerOf, EveryLinearIsReadInExactlyOneStep) {
  for (const LayerLayout& layout : source_->layout().layers) {
    std::vector<std::string> read, all;
    for (const LayerStep& step : StepsOf(layout)) {
      read.insert(read.end(), step.readers.begin(), step.readers.end());
      for (const std::string& reader : step.readers) EXPECT_EQ(layout.Linear(reader).in, step.width);
    }
    for (const LinearSpec& linear : layout.linears) all.push_back(linear.name);
    std::ranges::sort(read);
    std::ranges::sort(all);
    EXPECT_EQ(read, all);
  }
}

}  // namespace
}  // namespace lowbit
