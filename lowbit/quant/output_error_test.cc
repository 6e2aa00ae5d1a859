// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/output_error.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "lowbit/quant/awq_fold.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

CalibrationSet HeldOut(size_t sequences, size_t length) {
  CalibrationSet set;
  set.held_out_hash = std::string(64, 'e');
  std::mt19937 random(11);
  for (size_t s = 0; s < sequences; ++s) {
    TokenIds& ids = set.held_out.emplace_back();
    for (size_t t = 0; t < length; ++t) ids.push_back(static_cast<int32_t>(random() % 512));
  }
  return set;
}

Matrix ToFloat(const Weight& weight) {
  Matrix m(Rows(weight), Cols(weight));
  RowsToFloat(weight, 0, m.view());
  return m;
}

using Matrices = std::map<std::string, Matrix, std::less<>>;

// ‖X Aᵀ diag(rows)‖² in plain double; no `rows`: all 1.
double SquaredProduct(const Matrix& x, const Matrix& a, std::span<const double> rows = {}) {
  double sum = 0;
  for (size_t t = 0; t < x.rows(); ++t) {
    for (size_t r = 0; r < a.rows(); ++r) {
      double y = 0;
      for (size_t j = 0; j < a.cols(); ++j)
        y += static_cast<double>(x.view().Row(t)[j]) * static_cast<double>(a.view().Row(r)[j]);
      sum += y * y * (rows.empty() ? 1 : rows[r] * rows[r]);
    }
  }
  return sum;
}

class OutputErrorsOf : public testing::TestWithParam<const char*> {
 protected:
  OutputErrorsOf() { backend_ = MakeBackend("cpu", "f32", threads_); }

  // All linears of a layer, rounded to nearest.
  static LayerPatch Round(size_t layer, const Matrices& linears, const WeightSpec& spec) {
    LayerPatch patch;
    for (const auto& [name, matrix] : linears) {
      PackedTensor& packed = patch.packed[ModelLayout::LayerPrefix(layer) + name + ".weight"];
      packed = MakePacked(matrix.rows(), matrix.cols(), spec);
      RoundRows(matrix.view(), spec, 0, Place("test"), Threads(1), packed);
    }
    return patch;
  }
  Matrices LinearsOf(size_t layer) const {
    Matrices linears;
    for (const auto& [name, weight] : source_.Layer(layer).linears) linears[name] = ToFloat(weight);
    return linears;
  }
  OutputErrors Measure(size_t layer, const LayerPatch& patch, const ScalesByTap& scales,
                       const Backend& backend) const {
    HeldOutStream stream(source_, set_, backend);
    for (size_t l = 0; l <= layer; ++l) stream.Advance(l, source_.Layer(l));
    return stream.Measure(source_.Layer(layer), patch, scales);
  }
  // What the readers of each tap of a layer see of the held-out tokens, and the layer's input and output.
  struct Seen {
    Matrices inputs;
    std::vector<float> before, after;
  };
  Seen SeenBy(size_t layer) const {
    size_t rows = 0;
    std::vector<SequenceRows> sequences;
    for (const TokenIds& ids : set_.held_out) {
      sequences.push_back({rows, rows + ids.size(), 0});
      rows += ids.size();
    }
    Activations x(rows, source_.config().hidden_size);
    const MatView<float> all = x.Load(0, rows);
    for (size_t s = 0; s < sequences.size(); ++s) {
      for (size_t t = 0; t < set_.held_out[s].size(); ++t) {
        RowsToFloat(source_.Embedding(), static_cast<size_t>(set_.held_out[s][t]),
                    all.Rows(sequences[s].begin + t, 1));
      }
    }
    const RopeTable rope = MakeRopeTable(source_.config(), rows);
    Seen seen;
    for (size_t l = 0; l <= layer; ++l) {
      seen.inputs.clear();
      seen.before.assign(all.data, all.data + rows * all.cols);
      const LayerWeights weights = source_.Layer(l);
      StagedLayer staged({source_.config(), source_.layout().layers[l], *backend_, rope, sequences}, weights,
                         x);
      for (const LayerStep& step : StepsOf(source_.layout().layers[l])) {
        std::vector<float> values;
        staged.Inputs(step, [&](MatView<const float> some) {
          for (size_t t = 0; t < some.rows; ++t)
            values.insert(values.end(), some.Row(t), some.Row(t) + some.cols);
        });
        Matrix& input = seen.inputs[step.tap] = Matrix(values.size() / step.width, step.width);
        std::ranges::copy(values, input.data());
        staged.Advance(step, [&](const std::string& name) { return weights.linears.find(name)->second; });
      }
      seen.after.assign(all.data, all.data + rows * all.cols);
    }
    return seen;
  }

  CheckpointSource source_{fmt::format("{}/models/{}", LOWBIT_TESTDATA, GetParam())};
  CalibrationSet set_ = HeldOut(3, 17);
  Threads threads_{2};
  std::unique_ptr<Backend> backend_;
};
INSTANTIATE_TEST_SUITE_P(TinyModels, OutputErrorsOf,
                         testing::Values("tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST_P(OutputErrorsOf, LinearsAreTheRatioOfSquaredNormsOnTheHeldOutRows) {
  const Matrices linears = LinearsOf(1);
  const LayerPatch patch = Round(1, linears, {.bits = 3, .group_size = 32});
  const OutputErrors errors = Measure(1, patch, {}, *backend_);
  const Seen seen = SeenBy(1);
  std::map<std::string, std::pair<double, double>> sums;
  for (const LayerStep& step : StepsOf(source_.layout().layers[1])) {
    for (const std::string& reader : step.readers) {
      const Matrix& w = linears.find(reader)->second;
      Matrix difference(w.rows(), w.cols());
      Dequantize(patch.packed.at(ModelLayout::LayerPrefix(1) + reader + ".weight"), 0, difference.view());
      for (size_t i = 0; i < w.rows() * w.cols(); ++i) difference.data()[i] -= w.data()[i];
      auto& [error, output] = sums[WithoutExpert(reader)];
      error += SquaredProduct(seen.inputs.find(step.tap)->second, difference);
      output += SquaredProduct(seen.inputs.find(step.tap)->second, w);
    }
  }
  EXPECT_EQ(errors.relative.size(), sums.size() + 1) << "and the layer";
  for (const auto& [name, sum] : sums) {
    ASSERT_TRUE(errors.relative.contains(name)) << name;
    EXPECT_NEAR(errors.relative.at(name), sum.first / sum.second, 1e-5 * sum.first / sum.second) << name;
    EXPECT_GT(errors.relative.at(name), 1e-4) << name;
  }
  EXPECT_THAT(errors.rows, HasSubstr(set_.held_out_hash));
}

// The whole layer, with the rounded values as dense weights.
TEST_P(OutputErrorsOf, LayerIsTheChangeOfItsOutputRelativeToWhatItAdds) {
  const LayerPatch patch = Round(0, LinearsOf(0), {.bits = 3, .group_size = 32});
  const OutputErrors errors = Measure(0, patch, {}, *backend_);
  const Seen seen = SeenBy(0);
  Matrices values;
  LayerWeights rounded = source_.Layer(0);
  for (auto& [name, weight] : rounded.linears) {
    Matrix& m = values[name] = Matrix(Rows(weight), Cols(weight));
    Dequantize(patch.packed.at(ModelLayout::LayerPrefix(0) + name + ".weight"), 0, m.view());
    weight = TensorView{
        DType::kF32, {m.rows(), m.cols()}, std::as_bytes(std::span(m.data(), m.rows() * m.cols()))};
  }
  const size_t hidden = source_.config().hidden_size, rows = seen.before.size() / hidden;
  std::vector<SequenceRows> sequences;
  for (size_t s = 0; s < set_.held_out.size(); ++s) sequences.push_back({s * 17, (s + 1) * 17, 0});
  Activations x(rows, hidden);
  const MatView<float> all = x.Load(0, rows);
  std::ranges::copy(seen.before, all.data);
  const RopeTable rope = MakeRopeTable(source_.config(), 17);
  StagedLayer staged({source_.config(), source_.layout().layers[0], *backend_, rope, sequences}, rounded, x);
  for (const LayerStep& step : StepsOf(source_.layout().layers[0])) {
    staged.Advance(step, [&](const std::string& name) { return rounded.linears.find(name)->second; });
  }
  double error = 0, change = 0;
  for (size_t i = 0; i < seen.after.size(); ++i) {
    error += std::pow(static_cast<double>(all.data[i]) - static_cast<double>(seen.after[i]), 2);
    change += std::pow(static_cast<double>(seen.after[i]) - static_cast<double>(seen.before[i]), 2);
  }
  EXPECT_NEAR(errors.relative.at(std::string(kWholeLayer)), error / change, 1e-4 * error / change);
}

// A layer whose scales were folded is judged as what it does, not by how its weights look.
TEST_P(OutputErrorsOf, TakesScalesOutThatWereFoldedIntoWeights) {
  const LayerLayout& layout = source_.layout().layers[0];
  if (layout.experts) GTEST_SKIP() << "scales of mixtures are not folded";
  const ModelConfig& c = source_.config();
  const auto scales_of = [&](size_t size, uint32_t seed) {
    std::mt19937 random(seed);
    std::vector<float> scales(size);
    for (float& s : scales) s = 0.5f + static_cast<float>(random() % 1000) / 400.0f;
    return scales;
  };
  ScalesByTap scales = {{"attn_in", scales_of(c.hidden_size, 1)},
                        {"mlp_in", scales_of(c.hidden_size, 2)},
                        {"mlp_mid", scales_of(c.intermediate_size, 3)}};
  const size_t shared = c.num_attention_heads / c.num_key_value_heads;
  const std::vector<float> of_values = scales_of(c.KeyValueSize(), 4);
  for (size_t j = 0; j < c.QuerySize(); ++j) {
    scales["attn_out"].push_back(of_values[j / (shared * c.head_dim) * c.head_dim + j % c.head_dim]);
  }
  Matrices linears = LinearsOf(0);
  for (const LayerStep& step : StepsOf(layout)) {
    for (const std::string& reader : step.readers)
      ScaleColumns(linears.find(reader)->second.view(), scales.find(step.tap)->second);
  }
  DivideRows(linears["mlp.up_proj"].view(), scales["mlp_mid"]);
  DivideValueRows(linears["self_attn.v_proj"].view(), scales["attn_out"], c.num_attention_heads,
                  c.num_key_value_heads);
  LayerPatch patch = Round(0, linears, {.bits = 8, .group_size = 16, .scale_type = DType::kF32});
  for (const auto& [norm, tap] :
       {std::pair{"input_layernorm", "attn_in"}, {"post_attention_layernorm", "mlp_in"}}) {
    std::vector<float>& vector = patch.vectors[ModelLayout::LayerPrefix(0) + norm + ".weight"];
    vector = source_.Layer(0).norms.find(norm)->second;
    DivideElements(vector, scales.find(tap)->second);
  }
  const OutputErrors errors = Measure(0, patch, scales, *backend_);
  EXPECT_EQ(errors.relative.size(), 8u);
  for (const auto& [name, error] : errors.relative) {
    EXPECT_LT(error, 1e-3) << name;
    EXPECT_GT(error, 0) << name;
  }
  for (const auto& [tap, taken] : scales) {  // each of them counts
    ScalesByTap others = scales;
    others.erase(tap);
    const OutputErrors wrong = Measure(0, patch, others, *backend_);
    EXPECT_TRUE(std::ranges::any_of(wrong.relative, [](const auto& entry) { return entry.second > 0.05; }))
        << tap;
  }
}

TEST_P(OutputErrorsOf, HaveTheSameBitsForAnyNumberOfThreads) {
  const LayerPatch patch = Round(1, LinearsOf(1), {.bits = 2, .group_size = 16});
  const OutputErrors two = Measure(1, patch, {}, *backend_);
  for (const int count : {1, 5}) {
    const Threads threads(count);
    EXPECT_EQ(Measure(1, patch, {}, *MakeBackend("cpu", "f32", threads)), two) << count;
  }
}

TEST_P(OutputErrorsOf, SumsAreThoseOfTheReferenceBackend) {
  const LayerPatch patch = Round(0, LinearsOf(0), {.bits = 4, .group_size = 24});
  const OutputErrors fast = Measure(0, patch, {}, *backend_),
                     plain = Measure(0, patch, {}, *MakeBackend("ref", "f32", threads_));
  ASSERT_EQ(fast.relative.size(), plain.relative.size());
  for (const auto& [name, error] : plain.relative)
    EXPECT_NEAR(fast.relative.at(name), error, 1e-4 * error) << name;
}

TEST(HeldOutStream, RefusesTokensThatTheModelDoesNotHave) {
  const CheckpointSource source(LOWBIT_TESTDATA "/models/tiny-qwen3");
  const Threads threads(1);
  const auto backend = MakeBackend("cpu", "f32", threads);
  CalibrationSet set = HeldOut(1, 4);
  set.held_out[0][2] = 512;
  try {
    HeldOutStream(source, set, *backend);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    EXPECT_THAT(e.what(), HasSubstr("token id 512"));
  }
}

TEST(WithoutExpert, PutsExpertsTogether) {
  EXPECT_EQ(WithoutExpert("mlp.experts.12.up_proj"), "mlp.experts.up_proj");
  EXPECT_EQ(WithoutExpert("mlp.up_proj"), "mlp.up_proj");
  EXPECT_EQ(WithoutExpert("self_attn.q_proj"), "self_attn.q_proj");
}

}  // namespace
}  // namespace lowbit
