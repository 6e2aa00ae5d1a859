// SPDX-License-Identifier: Apache-2.0
// What ends a cell and what ends a study, with tasks that fail in every way there is.
#include "lowbit/study/runner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <stdexcept>

#include "lowbit/base/files.h"
#include "lowbit/base/stop.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/checkpoint/safetensors.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const std::string kDemo = std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3";

using Behaviour = std::function<Measurement()>;

class ScriptedTask : public Task {
 public:
  ScriptedTask(std::string name, Behaviour behaviour)
      : name_(std::move(name)), behaviour_(std::move(behaviour)) {}
  std::string Name() const override { return name_; }
  std::string DataHash() const override { return std::string(64, '0'); }
  std::string Settings() const override { return name_; }
  bool Takes(TaskOption) const override { return false; }
  ForwardJob Job(const Tokenizer&, const ModelConfig&) const override { return {}; }
  TaskResult Run(const Scorer&, const Tokenizer&, Reference*) const override {
    return {name_, "scripted", DataHash(), {behaviour_()}};
  }

 private:
  std::string name_;
  Behaviour behaviour_;
};

// A copy of a checkpoint with `value` in the place of a bf16 tensor's sixth element.
void PokeBf16(const std::string& from, const std::string& to, std::string_view tensor, float value) {
  const SafetensorsFile file(from);
  std::string bytes = ReadFile(from);
  const uint16_t bits = ToBF16(value).bits;
  std::memcpy(bytes.data() + file.header().data_start + file.Find(tensor)->begin + 5 * sizeof(bits), &bits,
              sizeof(bits));
  WriteFileAtomic(to, bytes);
}

class RunPlanTest : public ::testing::Test {
 protected:
  RunPlanTest() : threads_(1), backend_(MakeBackend("ref", "f32", threads_)) {
    folder_.Write("text.txt", "Enough words for one window of a few tokens, and then some more of them.");
    folder_.Write("study.yaml", "study: s\nmodels: [" + kDemo +
                                    "]\nrecipes: [full, rtn-w8-channel]\ntasks: [{task: 'text:text.txt', "
                                    "window: 8}]\n");
  }
  // One cell per recipe, with a task that does this.
  std::vector<CellRow> Rows(const Behaviour& behaviour, const MemoryBudget& budget = {}) {
    StudyPlan plan = MakePlan(ReadStudyFile(folder_.File("study.yaml")), threads_, budget);
    plan.tasks[0] = std::make_unique<ScriptedTask>("scripted", behaviour);
    ResultsDb results = ResultsDb::Open(folder_.File("results.db"), ResultsDb::Mode::kWrite);
    try {
      RunPlan(plan, folder_.path(), results, *backend_, [](const CellRow&, size_t, size_t) {});
    } catch (...) {
      left_ = results.All();
      throw;
    }
    return results.All();
  }
  void ExpectFailedCells(const Behaviour& behaviour, const std::string& kind, const std::string& says) {
    const std::vector<CellRow> rows = Rows(behaviour);
    ASSERT_EQ(rows.size(), 2u);
    for (const CellRow& row : rows) {
      EXPECT_EQ(row.status, CellStatus::kFailed);
      EXPECT_EQ(row.error_kind, kind);
      EXPECT_THAT(row.error, HasSubstr(says));
      EXPECT_TRUE(row.metrics.empty());
    }
    EXPECT_FALSE(fs::exists(folder_.File(".lowbit-scratch")));
  }
  TestFolder folder_;
  Threads threads_;
  std::unique_ptr<Backend> backend_;
  std::vector<CellRow> left_;  // rows when RunPlan threw
};

TEST_F(RunPlanTest, AnExceptionEndsItsCellOnly) {
  ExpectFailedCells([]() -> Measurement { throw Error(ErrorKind::kContent, "short text"); }, "content",
                    "short text");
  ExpectFailedCells([]() -> Measurement { throw std::bad_alloc(); }, "resource", "out of memory");
  ExpectFailedCells([]() -> Measurement { throw std::logic_error("odd"); }, "internal", "odd");
}

TEST_F(RunPlanTest, ANumberThatIsNotFiniteFailsItsCell) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  ExpectFailedCells(
      [&] {
        return Measurement{"perplexity", nan, std::nullopt, 1, false};
      },
      "numeric", "perplexity is nan");
  ExpectFailedCells(
      [&] {
        return Measurement{"acc", 0.5, -nan, 1, true};
      },
      "numeric", "standard error of acc");
}

// Or their rows would stand on one line of a chart with those of the last method alone.
TEST_F(RunPlanTest, MethodsThatFollowEachOtherAreBothNamedInTheRow) {
  folder_.Write("study.yaml",
                "study: s\nmodels: [" + kDemo +
                    "]\nrecipes: [awq+gptq-w4-g64]\ntasks: [{task: 'text:text.txt', window: 8}]\n"
                    "calibration: {file: text.txt, samples: 1, length: 8}\n");
  backend_ = MakeBackend("cpu", "f32", threads_);
  const std::vector<CellRow> rows = Rows([] { return Measurement{"perplexity", 2, std::nullopt, 1, false}; });
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].method, "awq+gptq");
}

TEST_F(RunPlanTest, AMultipleChoiceTaskHasARowOfItsMetrics) {
  fs::create_directories(folder_.File("data/piqa"));
  folder_.Write("data/piqa/valid.jsonl",
                "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b c\",\"label\":0}\n"
                "{\"goal\":\"h\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}\n"
                "{\"goal\":\"i\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":1}\n");
  folder_.Write("study.yaml",
                "study: s\nmodels: [" + kDemo +
                    "]\nrecipes: [full, rtn-w4-g64]\ntasks: [{task: piqa, limit: 2}]\ndata: data\n");
  const StudyPlan plan = MakePlan(ReadStudyFile(folder_.File("study.yaml")), threads_);
  EXPECT_GT(EstimateCosts(plan, *backend_).at(0).seconds, 0);
  ResultsDb results = ResultsDb::Open(folder_.File("results.db"), ResultsDb::Mode::kWrite);
  RunPlan(plan, folder_.path(), results, *backend_, [](const CellRow&, size_t, size_t) {});
  const std::vector<CellRow> rows = results.All();
  ASSERT_EQ(rows.size(), 2u);
  for (const CellRow& row : rows) {
    EXPECT_EQ(row.status, CellStatus::kDone) << row.error;
    EXPECT_EQ(row.task, "piqa");
    ASSERT_EQ(row.metrics.size(), 2u);
    EXPECT_EQ(row.metrics[0].name, "acc");
    EXPECT_EQ(row.metrics[1].name, "acc_norm");
    EXPECT_EQ(row.metrics[0].n, 2u);
    EXPECT_TRUE(row.metrics[0].standard_error.has_value());
    EXPECT_THAT(row.protocol, HasSubstr("2 of 1838 items (the first 2), 0-shot, no BOS"));
  }
  EXPECT_EQ(rows[0].protocol, rows[1].protocol);  // one column of the report
}

TEST_F(RunPlanTest, ADiskThatCannotBeWrittenEndsTheStudyWithoutARow) {
  EXPECT_THROW(Rows([]() -> Measurement { throw WriteError("some/file", "cannot write"); }), WriteError);
  EXPECT_TRUE(left_.empty());
}

TEST_F(RunPlanTest, ARequestToStopEndsTheStudyAndKeepsTheLayers) {
  int calls = 0;
  const auto stop_in_the_second_cell = [&]() -> Measurement {
    if (++calls == 2) throw Stopped{15};
    return {"perplexity", 2, std::nullopt, 1, false};
  };
  EXPECT_THROW(Rows(stop_in_the_second_cell), Stopped);
  ASSERT_EQ(left_.size(), 1u);
  EXPECT_EQ(left_[0].recipe, "full");
  const fs::path layer = folder_.File(".lowbit-scratch/demo-qwen3/rtn-w8-channel/layer-00000.safetensors");
  EXPECT_TRUE(fs::exists(layer));
}

// A channel that is 0 whatever the text: GPTQ is not what was asked for there, and the row says so.
TEST_F(RunPlanTest, NotesAndOutputErrorsOfTheQuantizedModelAreInItsRow) {
  const TestFolder model;
  model.CopyFrom(kDemo);
  const std::string path = model.File("model.safetensors");
  size_t at = 0;
  {
    const SafetensorsFile file(path);
    at = file.header().data_start + file.Find("model.layers.2.input_layernorm.weight")->begin + 2 * 5;
  }
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at)).write("\0", 2);
  file.close();
  folder_.Write(
      "text.txt",
      "Enough words for some windows of a few tokens, and then some more of them, and these are held out. "
      "Nobody learns from what stands at the end, it is for measuring alone, as far as it goes.");
  folder_.Write(
      "study.yaml",
      "study: s\nmodels: [" + model.path() +
          "]\nrecipes: [full, gptq-w8-channel, rtn-w8-channel]\ncalibration: {file: text.txt, samples: 2, "
          "length: 8}\ntasks: [{task: 'text:text.txt', window: 8}]\n");
  const std::vector<CellRow> rows = Rows([] { return Measurement{"perplexity", 2, std::nullopt, 1, false}; });
  ASSERT_EQ(rows.size(), 3u);
  for (const CellRow& row : rows) {
    EXPECT_EQ(row.status, CellStatus::kDone) << row.error;
    EXPECT_EQ(row.layer_errors.size(), row.method == "full" ? 0u : 4u * 8) << row.recipe;
    for (const LayerError& e : row.layer_errors) EXPECT_LT(e.relative, 0.1) << e.layer << " " << e.part;
  }
  EXPECT_THAT(rows[1].notes, HasSubstr("layer 2: attn_in: 1 of 256 inputs always 0"));
}

TEST_F(RunPlanTest, RecipesThatLearnNothingAreMeasuredOnWhatTheCalibrationTextHoldsOut) {
  folder_.Write("text.txt",
                "Enough words for a window of a few tokens, and then some more that are held out.");
  folder_.Write("study.yaml", "study: s\nmodels: [" + kDemo +
                                  "]\nrecipes: [rtn-w8a8-channel]\ncalibration: {file: text.txt, samples: 1, "
                                  "length: 8}\ntasks: [{task: 'text:text.txt', window: 8}]\n");
  const std::vector<CellRow> rows = Rows([] { return Measurement{"perplexity", 2, std::nullopt, 1, false}; });
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].layer_errors.size(), 4u * 15) << "seven linears, their inputs, and the layer";
  EXPECT_EQ(rows[0].inputs.size(), 4u * 7);
}

// A weight so large that its scale fits f32 alone: recipes that store f16 fail, and nobody else.
TEST_F(RunPlanTest, RecipesOfASweepFailByThemselvesAndShareThePass) {
  const std::string model = folder_.File("model");
  MakeDirectory(model);
  for (const char* name : {"config.json", "tokenizer.json"})
    fs::copy_file(kDemo + "/" + name, model + "/" + name);
  PokeBf16(kDemo + "/model.safetensors", model + "/model.safetensors", "model.layers.1.mlp.down_proj.weight",
           3e6f);
  folder_.Write(
      "study.yaml",
      "study: s\nmodels: [model]\nrecipes: [gptq-w4-g64, full, 'gptq-w4-g64:scale=f32', rtn-w4-g64, "
      "'rtn-w4-g64:range=hdiag,scale=f32']\ntasks: [{task: 'text:text.txt', window: 8}]\n"
      "calibration: {file: text.txt, samples: 2, length: 8, policy: concat}\n");
  backend_ = MakeBackend("cpu", "f32", threads_);
  const Behaviour two = [] { return Measurement{"perplexity", 2, std::nullopt, 1, false}; };
  const std::vector<CellRow> rows = Rows(two);
  ASSERT_EQ(rows.size(), 5u);
  for (const CellRow& row : rows) {
    const bool fits = row.recipe == "full" || row.recipe.find("f32") != std::string::npos;
    EXPECT_EQ(row.status, fits ? CellStatus::kDone : CellStatus::kFailed) << row.recipe << row.error;
    EXPECT_THAT(row.error, HasSubstr(fits ? "" : "tensor 'model.layers.1.mlp.down_proj.weight'"));
    const CellProvenance& p = row.provenance;
    EXPECT_EQ(p.quantize_seconds.has_value(), row.recipe != "full");
    EXPECT_EQ(p.shared_by.value_or(0), row.recipe.find("hdiag") == std::string::npos ? 0u : 1u);
    EXPECT_EQ(p.shared_seconds.value_or(0) > 0, p.shared_by.has_value());
  }
  EXPECT_EQ(rows[0].recipe, "gptq-w4-g64");  // one sweep: in the order of the study
  EXPECT_FALSE(fs::exists(folder_.File(".lowbit-scratch")));

  // As little memory as can be: a sweep for each, that of the full-precision pass first, and the same outcomes.
  fs::remove(folder_.File("results.db"));
  const std::vector<CellRow> least = Rows(two, {.least = true, .scratch = folder_.path()});
  ASSERT_EQ(least.size(), 5u);
  for (const CellRow& row : least) {
    const auto same = std::ranges::find(rows, row.recipe, &CellRow::recipe);
    ASSERT_NE(same, rows.end());
    EXPECT_EQ(row.status, same->status) << row.recipe;
    EXPECT_EQ(row.storage, same->storage) << row.recipe;
  }
  EXPECT_FALSE(fs::exists(folder_.File(".lowbit-scratch")));
}

TEST_F(RunPlanTest, SweepsHoldWhatTheDiskOfTheScratchFolderHolds) {
  folder_.Write("study.yaml", "study: s\nmodels: [" + kDemo +
                                  "]\nrecipes: [full, rtn-w8-channel, rtn-w4-channel, rtn-w2-channel]\n"
                                  "tasks: [{task: 'text:text.txt', window: 8}]\n");
  StudyPlan plan = MakePlan(ReadStudyFile(folder_.File("study.yaml")), threads_);
  std::vector<PlannedSweeps> sweeps = PlanSweeps(plan, folder_.path(), *backend_, Probe::kNo);
  ASSERT_EQ(sweeps.size(), 1u);
  EXPECT_EQ(sweeps[0].recipes, (std::vector<size_t>{1, 2, 3}));
  ASSERT_EQ(sweeps[0].quantize.lanes.size(), 1u);
  EXPECT_EQ(sweeps[0].LaneOf(2), (std::vector<size_t>{1, 2, 3}));

  const CheckpointSource& source = *plan.models[0].source;
  const std::vector<Recipe> recipes(plan.study.recipes.begin() + 1, plan.study.recipes.end());
  const uint64_t two = BytesOf(source, recipes[0]) + BytesOf(source, recipes[1]);
  sweeps[0].quantize = PlanQuantize({source, *backend_}, recipes, Probe::kNo, two);
  ASSERT_EQ(sweeps[0].quantize.lanes.size(), 2u);
  EXPECT_EQ(sweeps[0].LaneOf(1), (std::vector<size_t>{1, 2}));
  EXPECT_EQ(sweeps[0].LaneOf(3), (std::vector<size_t>{3}));
  plan.cells[2].state = CellState::kDone;
  const std::vector<const PlannedCell*> cells = CellsToRun(plan, sweeps);
  ASSERT_EQ(cells.size(), 3u);
  EXPECT_EQ(cells[2]->recipe, 3u);
}

TEST_F(RunPlanTest, LeftoversOfOtherInputsAreMadeAnew) {
  const std::string scratch = folder_.File(".lowbit-scratch/demo-qwen3/rtn-w8-channel");
  MakeDirectory(scratch);
  WriteFileAtomic(scratch + "/quantize.plan.json",
                  R"({"lowbit_plan": 1, "weights_hash": ")" + std::string(64, '1') +
                      R"(", "config_hash": ")" + std::string(64, '2') +
                      R"(", "recipe": "rtn-w8-channel", "code_version": "0"})");
  WriteFileAtomic(scratch + "/layer-00000.safetensors", "something else");
  WriteFileAtomic(folder_.File(".lowbit-scratch/of an earlier study file"), "");
  const Behaviour two = [] { return Measurement{"perplexity", 2, std::nullopt, 1, false}; };
  std::vector<CellRow> rows = Rows(two);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].status, CellStatus::kDone) << rows[1].error;
  EXPECT_FALSE(fs::exists(folder_.File(".lowbit-scratch")));

  fs::remove(folder_.File("results.db"));
  MakeDirectory(scratch);
  WriteFileAtomic(scratch + "/quantize.plan.json", "{ damaged");
  rows = Rows(two);
  ASSERT_EQ(rows.size(), 2u);
  EXPECT_EQ(rows[1].status, CellStatus::kDone) << rows[1].error;
}

}  // namespace
}  // namespace lowbit
