// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/row_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <utility>

#include "lowbit/model/rope.h"
#include "lowbit/quant/awq_loss.h"
#include "lowbit/quant/awq_testing.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

constexpr size_t kRows = 70;

Matrix FloatsOf(const Weight& weight) {
  Matrix m(Rows(weight), Cols(weight));
  RowsToFloat(weight, 0, m.view());
  return m;
}

double Dot(const float* a, const float* b, size_t n) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(a[i]) * b[i];
  return sum;
}

class RowWeightsOf : public testing::TestWithParam<const char*> {
 protected:
  RowWeightsOf() {
    const Matrix rows = RandomMatrix(kRows, source_.config().hidden_size, 5);
    const MatView<float> to = inputs_.Load(0, kRows, true);
    for (size_t t = 0; t < kRows; ++t) std::ranges::copy(rows.view().RowSpan(t), to.Row(t));
    inputs_.Store();
  }

  StagedLayer::Job JobOf(std::span<const SequenceRows> sequences) const {
    return {source_.config(), source_.layout().layers[0], *backend_, rope_, sequences};
  }
  Matrix Linear(const std::string& name) const { return FloatsOf(weights_.linears.find(name)->second); }

  // Σ_o W_oj².
  static std::vector<double> ColumnNorms(const Matrix& m) {
    std::vector<double> norms(m.cols());
    for (size_t o = 0; o < m.rows(); ++o) {
      for (size_t j = 0; j < m.cols(); ++j) norms[j] += std::pow(static_cast<double>(m.view().Row(o)[j]), 2);
    }
    return norms;
  }

  void ExpectGated(const RowWeights& found, const std::string& prefix, std::span<const uint32_t> rows,
                   std::span<const float> shares) {
    const Matrix gate = Linear(prefix + "gate_proj"), up = Linear(prefix + "up_proj");
    const std::vector<double> norms = ColumnNorms(Linear(prefix + "down_proj"));
    const MatView<const float> x = inputs_.Load(0, kRows);
    for (size_t i = 0; i < norms.size(); ++i) {
      double of_gate = 0, of_up = 0;
      for (size_t n = 0; n < rows.size(); ++n) {
        const double g = Dot(gate.view().Row(i), x.Row(rows[n]), x.cols),
                     u = Dot(up.view().Row(i), x.Row(rows[n]), x.cols), step = 1e-4;
        const auto silu = [](double v) { return v / (1 + std::exp(-v)); };
        const double slope = (silu(g + step) - silu(g - step)) / (2 * step);
        of_gate += std::pow(slope * u * shares[n], 2);
        of_up += std::pow(silu(g) * shares[n], 2);
      }
      const double tokens = static_cast<double>(rows.size());
      EXPECT_NEAR(found.at(prefix + "gate_proj")[i] / (norms[i] * of_gate / tokens), 1, 1e-3) << prefix << i;
      EXPECT_NEAR(found.at(prefix + "up_proj")[i] / (norms[i] * of_up / tokens), 1, 1e-3) << prefix << i;
    }
  }

  const CheckpointSource source_{std::string(LOWBIT_TESTDATA) + "/models/" + GetParam()};
  Threads threads_{2};
  std::unique_ptr<Backend> backend_ = MakeBackend("cpu", "f32", threads_);
  RopeTable rope_ = MakeRopeTable(source_.config(), kRows);
  LayerWeights weights_ = source_.Layer(0);
  Activations inputs_{kRows, source_.config().hidden_size};
  const std::vector<SequenceRows> sequences_ = {{0, 40, 0}, {40, 41, 0}, {41, kRows, 0}};
};

std::string NameOf(const testing::TestParamInfo<const char*>& test) {
  std::string name = test.param;
  std::ranges::replace(name, '-', '_');
  return name;
}
const auto kModels = testing::Values("tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe");
INSTANTIATE_TEST_SUITE_P(TinyModels, RowWeightsOf, kModels, NameOf);

TEST_P(RowWeightsOf, OfAnMlpAreItsFirstOrder) {
  const RowWeights found = MlpRowWeights(JobOf(sequences_), weights_, inputs_);
  const LayerLayout& layout = source_.layout().layers[0];
  if (!layout.experts) {
    std::vector<uint32_t> all(kRows);
    for (uint32_t t = 0; t < kRows; ++t) all[t] = t;
    ExpectGated(found, "mlp.", all, std::vector<float>(kRows, 1.0f));
    return;
  }
  const auto router = backend_->Prepare(*weights_.router);
  Matrix logits(kRows, layout.experts->count);
  backend_->Gemm(inputs_.Load(0, kRows), *router, {}, logits.view());
  const std::vector<ExpertRows> routes =
      RouteRows(logits.view(), layout.experts->active, layout.experts->normalize);
  for (size_t e = 0; e < routes.size(); ++e) {
    ASSERT_FALSE(routes[e].rows.empty());
    ExpectGated(found, ExpertsLayout::LinearName(e, ""), routes[e].rows, routes[e].weights);
  }
}

// A lone token attends to itself whatever q and k say, and o_proj reads v as it is.
TEST_P(RowWeightsOf, OfValuesAloneWhereThereIsNothingToAttendTo) {
  std::vector<SequenceRows> alone;
  for (size_t t = 0; t < kRows; ++t) alone.push_back({t, t + 1, 0});
  const RowWeights found = AttentionRowWeights(JobOf(alone), weights_, inputs_);
  EXPECT_THAT(found.at("self_attn.q_proj"), testing::Each(0.0f));
  EXPECT_THAT(found.at("self_attn.k_proj"), testing::Each(0.0f));
  const std::vector<double> norms = ColumnNorms(Linear("self_attn.o_proj"));
  const std::vector<float>& values = found.at("self_attn.v_proj");
  const ModelConfig& c = source_.config();
  const size_t d = c.head_dim, shared = c.num_attention_heads / c.num_key_value_heads;
  ASSERT_EQ(values.size(), c.num_key_value_heads * d);
  for (size_t r = 0; r < values.size(); ++r) {
    double want = 0;
    for (size_t h = 0; h < shared; ++h) want += norms[(r / d * shared + h) * d + r % d];
    EXPECT_NEAR(values[r] / want, 1, 1e-3) << r;
  }
}

TEST_P(RowWeightsOf, OfQueriesAndKeysAreOneForEachHead) {
  const RowWeights found = AttentionRowWeights(JobOf(sequences_), weights_, inputs_);
  const size_t d = source_.config().head_dim;
  for (const char* name : {"self_attn.q_proj", "self_attn.k_proj"}) {
    const std::vector<float>& of_rows = found.at(name);
    for (size_t r = 0; r < of_rows.size(); ++r) {
      EXPECT_GT(of_rows[r], 0) << name;
      EXPECT_EQ(of_rows[r], of_rows[r / d * d]) << name;
    }
    EXPECT_NE(of_rows.front(), of_rows.back()) << name;
  }
}

TEST_P(RowWeightsOf, ThreadsDoNotChangeABit) {
  const Threads one(1);
  const auto alone = MakeBackend("cpu", "f32", one);
  const StagedLayer::Job job = JobOf(sequences_);
  const StagedLayer::Job slow{job.config, job.layout, *alone, job.rope, job.sequences};
  EXPECT_EQ(AttentionRowWeights(job, weights_, inputs_), AttentionRowWeights(slow, weights_, inputs_));
  EXPECT_EQ(MlpRowWeights(job, weights_, inputs_), MlpRowWeights(slow, weights_, inputs_));
}

TEST(GramLossOfRows, CountsEveryRowAsItsWeightSays) {
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const awq_testing::Layer layer = awq_testing::RandomLayer(1100, 24, 30, 3);  // more than are held at once
  const std::vector<double> gram = layer.Gram();
  const MatView<const double> view(gram.data(), 24, 24);
  Matrix changed = awq_testing::Copy(layer.weights);
  for (size_t i = 0; i < 1100 * 24; ++i) changed.data()[i] += 0.01f * static_cast<float>(i % 7);
  const MatView<const float> readers[] = {layer.weights.view().Rows(0, 1050),
                                          layer.weights.view().Rows(1050, 50)},
                             after[] = {std::as_const(changed).view().Rows(0, 1050),
                                        std::as_const(changed).view().Rows(1050, 50)};
  const std::vector<std::vector<float>> ones = {std::vector<float>(1050, 1.0f), std::vector<float>(50, 1.0f)},
                                        some = {std::vector<float>(1050, 0.0f), std::vector<float>(50, 2.0f)};
  const double plain = GramLoss(*backend, view, 30, readers).Loss(after);
  EXPECT_EQ(GramLoss(*backend, view, 30, readers, ones).Loss(after), plain);
  const double last = GramLoss(*backend, view, 30, {&readers[1], 1}).Loss({&after[1], 1});
  EXPECT_NEAR(GramLoss(*backend, view, 30, readers, some).Loss(after) / (last * 2 * 50 / 1100), 1, 1e-12);
}

// Experts count by their tokens, and one without does not.
TEST(ExpertsGramLoss, IsTheMeanOverTheRowsOfAllExperts) {
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const awq_testing::Layer a = awq_testing::RandomLayer(6, 40, 30, 1),
                           b = awq_testing::RandomLayer(6, 40, 10, 2);
  Matrix a_changed = awq_testing::Copy(a.weights), b_changed = awq_testing::Copy(b.weights);
  a_changed.data()[7] += 0.5f;
  b_changed.data()[9] -= 0.25f;
  const std::vector<double> gram_a = a.Gram(), gram_b = b.Gram(), nothing(40 * 40, 0.0);
  const MatView<const float> a_weights = a.weights.view(), b_weights = b.weights.view();
  const ExpertsGramLoss loss(*backend, {{{gram_a.data(), 40, 40}, 30, {a_weights}},
                                        {{nothing.data(), 40, 40}, 0, {b_weights}},
                                        {{gram_b.data(), 40, 40}, 10, {b_weights}}});
  const MatView<const float> after[] = {a_changed.view(), a_changed.view(), b_changed.view()};
  const double want = (30 * awq_testing::DirectLoss(a).Loss({&after[0], 1}) +
                       10 * awq_testing::DirectLoss(b).Loss({&after[2], 1})) /
                      40;
  EXPECT_NEAR(loss.Loss(after) / want, 1, 1e-5);
}

}  // namespace
}  // namespace lowbit
