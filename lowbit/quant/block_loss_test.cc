// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/block_loss.h"

#include <gtest/gtest.h>

#include <random>

#include "lowbit/base/test_folder.h"
#include "lowbit/quant/calibration_stream.h"
#include "lowbit/tensor/dense_view.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

using Kind = LayerStep::Kind;

// The layer's first module that reads what scales are folded into, with the readers of all experts.
LayerStep WholeStep(const LayerLayout& layout, Kind kind) {
  LayerStep whole;
  whole.kind = kind;
  for (const LayerStep& step : StepsOf(layout)) {
    if (step.kind != kind) continue;
    whole.readers.insert(whole.readers.end(), step.readers.begin(), step.readers.end());
    whole.width = step.width;
  }
  return whole;
}

CalibrationSet SomeTokens(size_t samples, size_t length) {
  CalibrationSet set;
  set.spec.samples = samples;
  set.spec.length = length;
  std::mt19937 random(11);
  for (size_t s = 0; s < samples; ++s) {
    TokenIds& ids = set.sequences.emplace_back();
    for (size_t t = 0; t < length; ++t) ids.push_back(static_cast<int32_t>(random() % 512));
  }
  return set;
}

// Layer 0 of a tiny model, its calibration rows, and weights that differ from its own.
struct Trial {
  Trial(const std::string& model, Kind kind, size_t samples, size_t length, int thread_count = 2,
        const std::string& scratch = {}, const std::string& backend_name = "cpu")
      : source(std::string(LOWBIT_TESTDATA) + "/models/" + model),
        threads(thread_count),
        backend(MakeBackend(backend_name, "f32", threads)),
        set(SomeTokens(samples, length)),
        stream(source, set, *backend, ActivationsPlace{scratch}),
        weights(source.Layer(0)),
        step(WholeStep(source.layout().layers[0], kind)) {
    uint32_t seed = 100;
    for (const std::string& reader : step.readers) {
      const Weight& weight = weights.linears.find(reader)->second;
      const Matrix noise = RandomMatrix(Rows(weight), Cols(weight), ++seed, 0.02f);
      Matrix& matrix = changed.emplace_back(Rows(weight), Cols(weight));
      RowsToFloat(weight, 0, matrix.view());
      for (size_t i = 0; i < matrix.rows() * matrix.cols(); ++i) matrix.data()[i] += noise.data()[i];
    }
    for (const Matrix& m : changed) views.push_back(m.view());
  }

  // By the first `sequences` of them.
  std::unique_ptr<ScaleLoss> LossOver(size_t sequences) {
    record = stream.Record(0, weights, {.samples = sequences});
    return stream.LossOf(stream.JobOf(0, sequences), weights, step, record);
  }

  // What the layer, taken step by step, makes of the embeddings, up to the module's end.
  Matrix After(bool with_changes) {
    const StagedLayer::Job job = stream.JobOf(0, set.sequences.size());
    Activations x(set.Tokens(), source.config().hidden_size);
    const MatView<float> rows = x.Load(0, x.rows(), true);
    size_t row = 0;
    for (const TokenIds& ids : set.sequences) {
      for (const int32_t id : ids)
        RowsToFloat(source.Embedding(), static_cast<size_t>(id), rows.Rows(row++, 1));
    }
    StagedLayer layer(job, weights, x);
    for (const LayerStep& next : StepsOf(job.layout)) {
      layer.Advance(next, [&](const std::string& name) -> Weight {
        const auto at = std::ranges::find(step.readers, name);
        if (!with_changes || at == step.readers.end()) return weights.linears.find(name)->second;
        return DenseView(views[static_cast<size_t>(at - step.readers.begin())]);
      });
      if (step.kind == Kind::kAttnIn && next.kind == Kind::kAttnOut) break;
    }
    Matrix result(x.rows(), x.cols());
    for (size_t t = 0; t < x.rows(); ++t) std::ranges::copy(rows.RowSpan(t), result.view().Row(t));
    return result;
  }

  CheckpointSource source;
  Threads threads;
  std::unique_ptr<Backend> backend;
  CalibrationSet set;
  CalibrationStream stream;
  LayerWeights weights;
  LayerStep step;
  std::vector<Matrix> changed;
  std::vector<MatView<const float>> views;
  LayerRecord record;
};

class BlockLossOf : public testing::TestWithParam<std::tuple<const char*, Kind>> {
 protected:
  std::string Model() const { return std::get<0>(GetParam()); }
  Kind kind() const { return std::get<1>(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(TinyModels, BlockLossOf,
                         testing::Combine(testing::Values("tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe"),
                                          testing::Values(Kind::kAttnIn, Kind::kMlpIn)),
                         [](const auto& test) {
                           std::string name = std::get<0>(test.param);
                           std::ranges::replace(name, '-', '_');
                           return name + (std::get<1>(test.param) == Kind::kAttnIn ? "_attention" : "_mlp");
                         });

TEST_P(BlockLossOf, IsHowFarTheModulesOutputMoves) {
  for (const char* backend : {"cpu", "ref"}) {
    Trial trial(Model(), kind(), 3, 37, 2, {}, backend);
    const Matrix before = trial.After(false), after = trial.After(true);
    double sum = 0;
    const size_t values = before.rows() * before.cols();
    for (size_t i = 0; i < values; ++i) {
      const double d = static_cast<double>(before.data()[i]) - static_cast<double>(after.data()[i]);
      sum += d * d;
    }
    const double want = sum / static_cast<double>(values);
    ASSERT_GT(want, 1e-8);
    EXPECT_NEAR(trial.LossOver(3)->Loss(trial.views) / want, 1, 1e-4) << backend;
  }
}

TEST_P(BlockLossOf, IsZeroWithTheWeightsThatAreThere) {
  Trial trial(Model(), kind(), 2, 30);
  std::vector<Matrix> own;
  std::vector<MatView<const float>> views;
  for (const std::string& reader : trial.step.readers) {
    const Weight& weight = trial.weights.linears.find(reader)->second;
    RowsToFloat(weight, 0, own.emplace_back(Rows(weight), Cols(weight)).view());
  }
  for (const Matrix& m : own) views.push_back(m.view());
  EXPECT_EQ(trial.LossOver(2)->Loss(views), 0);
}

TEST_P(BlockLossOf, ThreadsAndTheScratchFileDoNotChangeABit) {
  const TestFolder folder;
  Trial one(Model(), kind(), 3, 230, 1), many(Model(), kind(), 3, 230, 4),
      filed(Model(), kind(), 3, 230, 2, folder.path());
  const double loss = one.LossOver(3)->Loss(one.views);
  EXPECT_EQ(many.LossOver(3)->Loss(many.views), loss);
  EXPECT_EQ(filed.LossOver(3)->Loss(filed.views), loss);
}

TEST_P(BlockLossOf, EndsEarlyOnlyOnceItHasEnough) {
  Trial trial(Model(), kind(), 5, 230);  // more rows than pass at once
  const auto loss = trial.LossOver(5);
  const double whole = loss->Loss(trial.views);
  EXPECT_EQ(loss->LossUpTo(trial.views, 2 * whole), whole);
  EXPECT_EQ(loss->LossUpTo(trial.views, whole), whole);
  const double some = loss->LossUpTo(trial.views, 0.01 * whole);
  EXPECT_GE(some, 0.01 * whole);
  EXPECT_LE(some, whole);
  const bool at_once = Model() == "tiny-qwen3-moe" && kind() == Kind::kMlpIn;
  EXPECT_LT(some, (at_once ? 1.01 : 0.6) * whole);
  EXPECT_EQ(loss->Loss(trial.views), whole);  // what ended early leaves nothing behind
}

TEST_P(BlockLossOf, FewerSequencesCountLikeASetOfTheirs) {
  Trial all(Model(), kind(), 5, 40), some(Model(), kind(), 5, 40), few(Model(), kind(), 2, 40);
  const double of_few = few.LossOver(2)->Loss(few.views);
  EXPECT_EQ(some.LossOver(2)->Loss(some.views), of_few);
  EXPECT_NE(all.LossOver(5)->Loss(all.views), of_few);
}

}  // namespace
}  // namespace lowbit
