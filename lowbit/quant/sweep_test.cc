// SPDX-License-Identifier: Apache-2.0
// Several recipes through one model: what one does to the others, and how they are cut into lanes.
#include "lowbit/quant/sweep.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "lowbit/base/files.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/quant/calibrated_testing.h"
#include "lowbit/quant/layer_stream.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

TEST(Sweep, OneRecipeThatFailsLeavesItsNeighboursWhole) {
  const TestFolder folder, model;
  model.CopyFrom(TinyModel("tiny-qwen3"));
  Poke(model.path(), "model.layers.1.mlp.down_proj.weight", 5, 3e6f);
  const std::vector<std::string> recipes = {"gptq-w3-g32", "gptq-w3-g32:scale=f32", "rtn-w3-g32",
                                            "rtn-w3-g32:range=hdiag,scale=f32",
                                            "awq-w3-g32:awq_loss=hessian,scale=f32"};
  const std::vector<QuantizeResult> results =
      Quantize(model.path(), recipes, folder.File("all"), {.failures = Failures::kReturn});
  for (size_t i = 0; i < recipes.size(); ++i) {
    const bool fits = recipes[i].ends_with("f32");
    EXPECT_EQ(results[i].failure == nullptr, fits) << recipes[i];
    EXPECT_EQ(IsArtefact(folder.File("all/" + recipes[i])), fits) << recipes[i];
    if (!fits) {
      EXPECT_THAT(WhatOf(results[i].failure), HasSubstr("model.layers.1.mlp.down_proj.weight"));
      continue;
    }
    Quantize(model.path(), {recipes[i]}, folder.File("alone"));
    EXPECT_EQ(TensorFiles(folder.File("all/" + recipes[i])), TensorFiles(folder.File("alone/" + recipes[i])));
  }
  EXPECT_THROW(Quantize(model.path(), recipes, folder.File("all")), Error);
}

TEST(Sweep, AFullPrecisionPassThatFailsLeavesThoseThatDoNotLearnFromIt) {
  const TestFolder folder;
  const CheckpointSource source(TinyModel("tiny-qwen3"));
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  CalibrationSet set = SomeTokens();
  set.sequences[2][3] = 512;  // the vocabulary ends before it
  std::vector<QuantizeCell> cells;
  for (const char* recipe : {"rtn-w3-g32:range=hdiag", "rtn-w3-g32", "gptq-w3-g32", "awq-w3-g32"})
    cells.push_back({ParseRecipe(recipe), folder.File(recipe)});
  const auto results = QuantizeModel({source, *backend, &set}, cells, Failures::kReturn);
  for (size_t i = 0; i < cells.size(); ++i) {
    EXPECT_EQ(results[i].failure == nullptr, i == 1) << cells[i].recipe.Text();
    EXPECT_THAT(WhatOf(results[i].failure), HasSubstr(i == 1 ? "no failure" : "token id 512"));
  }
}

TEST(Sweep, AFileThatWasDamagedIsMadeAgainWhateverItNeeds) {
  const TestFolder folder;
  const std::vector<std::string> recipes = {"gptq-w3-g32", "rtn-w3-g32:range=hdiag", "awq+gptq-w3-g32"};
  Quantize(TinyModel("tiny-qwen3"), recipes, folder.path());
  for (const std::string& recipe : recipes) {
    const auto whole = TensorFiles(folder.File(recipe));
    for (const auto& [file, bytes] : whole) {
      std::string damaged = bytes;
      damaged.back() = static_cast<char>(damaged.back() ^ 1);
      WriteFileAtomic(folder.File(recipe + "/" + file), damaged);
      const std::vector<QuantizeResult> again = Quantize(TinyModel("tiny-qwen3"), recipes, folder.path());
      EXPECT_EQ(TensorFiles(folder.File(recipe)), whole) << recipe << " " << file;
      for (const QuantizeResult& result : again) {
        EXPECT_EQ(result.kept_files, result.info.recipe == ParseRecipe(recipe).Text() ? 1u : 2u);
      }
    }
  }
}

TEST(Sweep, ASweepSaysWhatItsRecipesShared) {
  const TestFolder folder;
  const std::vector<QuantizeResult> results = Quantize(
      TinyModel("tiny-qwen3"),
      {"rtn-w3-g32:range=hdiag", "gptq-w3-g32", "awq-w3-g32:awq_loss=hessian", "rtn-w4-g32"}, folder.path());
  EXPECT_EQ(results[0].shared_by, 2u);
  EXPECT_EQ(results[2].shared_by, 2u);
  EXPECT_GT(results[0].shared_seconds, 0);
  EXPECT_EQ(results[0].shared_seconds, results[2].shared_seconds);
  for (const size_t i : {1, 3}) {
    EXPECT_EQ(results[i].shared_by, 0u);
    EXPECT_EQ(results[i].shared_seconds, 0);
  }
  for (const QuantizeResult& result : results) {
    EXPECT_GT(result.info.seconds, 0);
    EXPECT_NEAR(ReadArtefactInfo(folder.File(result.info.recipe)).seconds, result.info.seconds, 1e-9);
  }
}

// A file leaves memory when it is written, whichever recipe's is made next.
TEST(Sweep, MoreRecipesDoNotHoldMorePackedLayers) {
  const CheckpointSource source(TinyModel("tiny-qwen3"));
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  std::vector<Recipe> recipes;
  std::set<uint64_t> peaks;
  for (const char* recipe : {"rtn-w8-g32", "rtn-w4-g32", "rtn-w6-channel", "rtn-w2-g16"}) {
    recipes.push_back(ParseRecipe(recipe));
    const MemoryBudget budget{.bytes = uint64_t{1} << 40, .program = uint64_t{64} << 20};
    peaks.insert(PlanQuantize({source, *backend, nullptr, budget}, recipes, Probe::kNo).PeakBytes());
  }
  EXPECT_EQ(peaks.size(), 1u);
}

TEST(Sweep, RecipesThatDoNotFitTogetherGoInLanes) {
  const CheckpointSource source(TinyModel("tiny-qwen3"));
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const CalibrationSet set = SomeTokens(64, 512);
  std::vector<Recipe> recipes = {ParseRecipe("rtn-w4-g32")};
  for (const char* damp : {"0.01", "0.02", "0.03", "0.04", "0.05", "0.06", "0.07", "0.08"})
    recipes.push_back(ParseRecipe(std::string("gptq-w3-g32:damp=") + damp));
  recipes.push_back(ParseRecipe("awq-w3-g32:awq_loss=hessian"));
  recipes.push_back(ParseRecipe("rtn-w3-g32:range=hdiag"));
  constexpr uint64_t kMegabyte = 1 << 20;
  const auto plan = [&](MemoryBudget budget) {
    budget.program = 64 * kMegabyte;  // what the process holds moves by itself from one plan to the next
    return PlanQuantize({source, *backend, &set, budget}, recipes, Probe::kNo);
  };
  const QuantizePlan all = plan({.bytes = uint64_t{1} << 40});
  EXPECT_FALSE(all.lanes[0].scratch_file);
  EXPECT_EQ(all.lanes[0].own_streams, 8u);
  const QuantizePlan in_file = plan({.bytes = all.PeakBytes() - 4 * kMegabyte});
  ASSERT_EQ(in_file.lanes.size(), 1u);
  EXPECT_TRUE(in_file.lanes[0].scratch_file);

  const uint64_t budget = in_file.PeakBytes() - 4 * kMegabyte;
  const QuantizePlan lanes = plan({.bytes = budget});
  ASSERT_GT(lanes.lanes.size(), 1u);
  std::multiset<size_t> planned;
  for (const QuantizeLane& lane : lanes.lanes) {
    EXPECT_LE(lane.peak_bytes, budget);
    EXPECT_TRUE(std::ranges::is_sorted(lane.recipes));
    EXPECT_EQ(lane.float_stream, &lane == lanes.lanes.data())
        << "one float pass serves both that learn from it";
    planned.insert(lane.recipes.begin(), lane.recipes.end());
  }
  EXPECT_EQ(planned, (std::multiset<size_t>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}));
  EXPECT_THAT(lanes.Text(), HasSubstr("passes over the layers of"));
  EXPECT_EQ(plan({.least = true}).lanes.size(), recipes.size());
  try {
    plan({.bytes = kMegabyte});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kResource);
    EXPECT_THAT(e.what(), HasSubstr("allowed by --ram, expected at least"));
  }
}

}  // namespace
}  // namespace lowbit
