// SPDX-License-Identifier: Apache-2.0
// Methods that learn from calibration tokens, through the driver: same bytes however the work is cut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <set>

#include "lowbit/base/build_info.h"
#include "lowbit/base/files.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/calib/statistics_file.h"
#include "lowbit/model/decoder.h"
#include "lowbit/model/staged_layer.h"
#include "lowbit/quant/billm.h"
#include "lowbit/quant/calibrated_testing.h"
#include "lowbit/quant/calibration_stream.h"
#include "lowbit/quant/layer_stream.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

const std::vector<std::string> kRecipes = {"gptq-w3-g32",
                                           "gptq-w4-channel:act_order=true",
                                           "gptq-w2-g16:act_order=true,range=hdiag,sink_weight=64",
                                           "rtn-w3-g32:range=hdiag",
                                           "rtn-w4-g32",
                                           "smoothquant-w8a8:smooth=all,activations=tensor",
                                           "smoothquant+gptq-w4a8-g32:transform=hadamard",
                                           "billm:block=32,exact=true"};

// AWQ takes long: each way of judging scales where its work is another.
std::vector<std::string> RecipesFor(std::string_view model) {
  std::vector<std::string> recipes = kRecipes;
  if (model != "tiny-llama3") {
    recipes.insert(recipes.end(), {"awq-w3-g32:awq_samples=2", "awq-w3-g32:awq_loss=hessian_rows"});
  }
  if (model == "tiny-qwen3") recipes.emplace_back("awq-w2-channel:awq_loss=hessian,range=hdiag");
  if (model != "tiny-qwen3-moe") recipes.emplace_back("awq+gptq-w3-g32:act_order=true");
  return recipes;
}

class CalibratedOn : public testing::TestWithParam<const char*> {
 protected:
  std::string Model() const { return TinyModel(GetParam()); }
};
INSTANTIATE_TEST_SUITE_P(TinyModels, CalibratedOn,
                         testing::Values("tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

TEST_P(CalibratedOn, ThreadsMemoryAndOtherRecipesDoNotChangeAByte) {
  const TestFolder folder;
  const std::vector<std::string> recipes = RecipesFor(GetParam());
  Quantize(Model(), recipes, folder.File("all"), {.threads = 3});
  Quantize(Model(), recipes, folder.File("least"), {.threads = 1, .least_memory = true});
  for (const std::string& recipe : recipes) {
    Quantize(Model(), {recipe}, folder.File("alone"));
    const auto alone = TensorFiles(folder.File("alone/" + recipe));
    EXPECT_FALSE(alone.empty());
    EXPECT_EQ(TensorFiles(folder.File("all/" + recipe)), alone) << recipe;
    EXPECT_EQ(TensorFiles(folder.File("least/" + recipe)), alone) << recipe;
  }
}

TEST_P(CalibratedOn, AResumedRunEndsWithTheSameBytes) {
  const TestFolder folder;
  std::vector<std::string> recipes = {"gptq-w3-g32:act_order=true",
                                      "rtn-w3-g32:range=hdiag,transform=hadamard",
                                      "smoothquant-w4a8:smooth=down,activations=tensor", "billm"};
  if (std::string_view(GetParam()) != "tiny-llama3") recipes.emplace_back("awq-w3-g32:awq_loss=hessian");
  if (std::string_view(GetParam()) != "tiny-qwen3") recipes.emplace_back("awq+gptq-w3-g32");
  const std::vector<QuantizeResult> first = Quantize(Model(), recipes, folder.File("q"));
  for (const std::string& recipe : recipes) {
    const std::string out = folder.File("q/" + recipe);
    const auto whole = TensorFiles(out);
    for (const auto& [file, bytes] : whole) {
      fs::remove(out + "/" + file);
      const std::vector<QuantizeResult> again = Quantize(Model(), recipes, folder.File("q"));
      EXPECT_EQ(TensorFiles(out), whole) << "without " << file;
      for (size_t i = 0; i < recipes.size(); ++i) {
        EXPECT_DOUBLE_EQ(again[i].info.relative_error, first[i].info.relative_error) << recipes[i];
      }
    }
  }
}

// ‖y - ŷ‖² over the hidden states of the calibration tokens.
double OutputError(const std::string& base, const std::string& artefact) {
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const auto a = OpenModel(base), b = OpenModel(artefact);
  const CalibrationSet set = SomeTokens();
  const Matrix x = Decoder(*a, *backend).Forward(set.sequences),
               y = Decoder(*b, *backend).Forward(set.sequences);
  double error = 0;
  for (size_t i = 0; i < x.rows() * x.cols(); ++i)
    error += std::pow(static_cast<double>(x.data()[i]) - y.data()[i], 2);
  return error;
}

TEST_P(CalibratedOn, GptqIsNearerToTheModelThanRoundingToNearest) {
  const TestFolder folder;
  Quantize(Model(), {"gptq-w3-g32", "rtn-w3-g32"}, folder.path());
  EXPECT_LT(OutputError(Model(), folder.File("gptq-w3-g32")),
            0.9 * OutputError(Model(), folder.File("rtn-w3-g32")));
}

TEST(Calibrated, ARecipeThatLearnsWithoutTokensIsRefusedBeforeAnythingIsWritten) {
  const TestFolder folder;
  const CheckpointSource source(TinyModel("tiny-qwen3"));
  const Threads threads(1);
  const auto backend = MakeBackend("cpu", "f32", threads);
  for (const char* recipe : {"gptq-w4-g32", "rtn-w4-g32:range=hdiag"}) {
    const std::vector<QuantizeCell> cells = {{ParseRecipe(recipe), folder.File("q")}};
    try {
      QuantizeModel({source, *backend}, cells);
      FAIL() << recipe;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kUsage);
      EXPECT_THAT(e.what(), HasSubstr("learns from calibration tokens"));
    }
    EXPECT_FALSE(fs::exists(folder.File("q")));
  }
}

// A weight so large that its scale fits f32 alone.
TEST_P(CalibratedOn, SavedStatisticsAreOfTheWholeModelAndChangeNothing) {
  const TestFolder folder;
  const CheckpointSource source(Model());
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const CalibrationSet set = SomeTokens();
  const std::vector<QuantizeCell> cells = {{ParseRecipe("rtn-w3-g32:range=hdiag"), folder.File("q")},
                                           {ParseRecipe("gptq-w3-g32"), folder.File("r")}};
  QuantizeModel({source, *backend, &set}, cells);
  const auto before = TensorFiles(folder.File("q"));
  // Beside a new run, one with a layer left to make, and one that is finished.
  for (const char* gone : {"", "layer-00000.safetensors", "none"}) {
    const std::string saved = folder.File("s" + std::string(gone));
    fs::remove_all(folder.File("q") + (*gone == 0 ? "" : "/") + gone);
    QuantizeModel({source, *backend, &set, {}, {}, saved}, cells);
    EXPECT_EQ(TensorFiles(folder.File("q")), before);
    for (size_t l = 0; l < source.layout().layers.size(); ++l) {
      const ModelStatistics statistics = ReadStatistics(saved + "/" + StatisticsFileName(l));
      RequireOrigin(statistics.origin,
                    {set.hash, ReadArtefactInfo(folder.File("q")).weights_hash, CodeVersion(), set.Tokens()},
                    saved);
      EXPECT_EQ(statistics.taps.size(), StepsOf(source.layout().layers[l]).size());
      const InputStatistics& in = statistics.taps.at(ModelLayout::LayerPrefix(l) + "attn_in");
      EXPECT_EQ(in.tokens, set.Tokens());
      EXPECT_EQ(in.part, GramPart::kFull);
      EXPECT_EQ(!statistics.expert_tokens.empty(), source.layout().layers[l].experts.has_value());
    }
  }
  EXPECT_THROW(QuantizeModel({source, *backend, nullptr, {}, {}, folder.File("s")}, {}), Error);
}

TEST(Calibrated, ManifestNamesTheTokensAndOtherTokensAreAConflict) {
  const TestFolder folder;
  const CheckpointSource source(TinyModel("tiny-qwen3"));
  const Threads threads(1);
  const auto backend = MakeBackend("cpu", "f32", threads);
  CalibrationSet set = SomeTokens();
  const std::vector<QuantizeCell> cells = {{ParseRecipe("gptq-w4-g32"), folder.File("q")}};
  const ArtefactInfo info = QuantizeModel({source, *backend, &set}, cells)[0].info;
  EXPECT_THAT(info.calibration, HasSubstr(set.hash));
  EXPECT_EQ(ReadArtefactInfo(folder.File("q")).calibration, info.calibration);
  set.hash[0] = 'd';
  try {
    QuantizeModel({source, *backend, &set}, cells);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kConflict);
    EXPECT_THAT(e.what(), HasSubstr("key 'calibration'"));
  }
}

// The inputs of a layer are those that the planes of earlier layers make, and nothing of its own.
TEST_P(CalibratedOn, BillmLearnsFromEarlierLayersAndNotFromItsOwn) {
  const TestFolder folder;
  Quantize(Model(), {"billm:block=32"}, folder.path());
  const auto quantized = OpenModel(folder.File("billm:block=32"));
  const CheckpointSource source(Model());
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const CalibrationSet set = SomeTokens();
  const Recipe recipe = ParseRecipe("billm:block=32");
  CalibrationStream stream(source, set, *backend, ActivationsPlace{});
  stream.Record(0, quantized->Layer(0), {});
  const LayerWeights before = source.Layer(1), after = quantized->Layer(1);
  size_t compared = 0;
  stream.Run(1, before, GramPart::kFull, [&](const LayerStep& step, InputStatistics& statistics) {
    Notes notes;
    const GptqFactor factor = FactorOrNote(statistics, {}, "", Place(step.tap), threads, notes);
    for (const std::string& reader : step.readers) {
      const Weight& weight = before.linears.find(reader)->second;
      Matrix w(Rows(weight), Cols(weight));
      RowsToFloat(weight, 0, w.view());
      PackedTensor want = MakePacked(w.rows(), w.cols(), recipe.weights);
      const Place place(reader);
      RoundBillm({w.view(), factor, recipe.weights, recipe.billm, place, threads}, want);
      const auto got = std::get<std::shared_ptr<const PackedTensor>>(after.linears.find(reader)->second);
      EXPECT_EQ(got->codes, want.codes) << reader;
      EXPECT_EQ(got->scales, want.scales) << reader;
      EXPECT_EQ(got->salient, want.salient) << reader;
      ++compared;
    }
    return [&](const std::string& name) { return before.linears.find(name)->second; };
  });
  EXPECT_EQ(compared, before.linears.size());
}

TEST_P(CalibratedOn, BillmIsNearerToTheModelThanOneBitWithoutData) {
  const TestFolder folder;
  const std::vector<std::string> recipes = {"billm", "billm:exact=true", "rtn-w1-g128"};
  const std::vector<QuantizeResult> results = Quantize(Model(), recipes, folder.path());
  const double plain = OutputError(Model(), folder.File("rtn-w1-g128"));
  for (const size_t i : {0, 1}) {
    EXPECT_LT(OutputError(Model(), folder.File(recipes[i])), plain) << recipes[i];
    const ArtefactInfo info = ReadArtefactInfo(folder.File(recipes[i]));
    EXPECT_EQ(info, results[i].info);
    EXPECT_GT(info.CodeBitsPerWeight(), 1.0);
    EXPECT_LT(info.CodeBitsPerWeight(), 2.0);
    EXPECT_GT(info.BitsPerQuantizedWeight(), 2.0 + 7 * 16 / 128.0);  // one group may be less than 128 columns
    uint64_t bits = 0, bytes = 0;
    const auto source = OpenModel(folder.File(recipes[i]));
    for (size_t l = 0; l < info.layers; ++l) {
      const LayerWeights weights = source->Layer(l);
      for (const auto& [name, weight] : weights.linears) {
        const PackedTensor& packed = *std::get<std::shared_ptr<const PackedTensor>>(weight);
        bits += packed.CodeBits();
        bytes += packed.codes.size() + 2 * packed.scales.size() + packed.salient.size();
      }
    }
    EXPECT_EQ(info.code_bits, bits);
    EXPECT_EQ(BytesOf(CheckpointSource(Model()), ParseRecipe(recipes[i])), bytes);
  }
  EXPECT_EQ(ReadArtefactInfo(folder.File("rtn-w1-g128")).code_bits, 0u);
}

// The product that a scale is folded into and taken out of again stays the same: at 8 bits nothing is lost but the
// rounding itself.
TEST(Calibrated, AwqFoldsItsScalesWithoutChangingTheModel) {
  const TestFolder folder;
  for (const char* name : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe"}) {
    const std::string model = TinyModel(name), out = folder.File(name);
    Quantize(model, {"awq-w8-g16", "rtn-w8-g16", "awq-w3-g16", "rtn-w3-g16"}, out);
    EXPECT_LT(OutputError(model, out + "/awq-w8-g16"), 4 * OutputError(model, out + "/rtn-w8-g16"));
    EXPECT_LT(OutputError(model, out + "/awq-w3-g16"), OutputError(model, out + "/rtn-w3-g16"));
  }
}

TEST(Calibrated, AwqRefusesMoreSequencesThanThereAre) {
  const TestFolder folder;
  try {
    Quantize(TinyModel("tiny-qwen3"), {"awq-w4-g32:awq_samples=7"}, folder.path());
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUsage);
    EXPECT_THAT(e.what(), HasSubstr("looks at 7 sequences, the calibration set has 6"));
  }
}

// A mixture's router takes scales on; it is kept in the artefact, whichever methods follow.
TEST(Calibrated, AwqKeepsTheRouterThatItScaled) {
  const TestFolder folder;
  const std::string model = TinyModel("tiny-qwen3-moe");
  Quantize(model, {"awq-w3-g32", "awq+gptq-w3-g32"}, folder.path());
  const CheckpointSource source(model);
  const LayerWeights before = source.Layer(0);
  const Weight& was = *before.router;
  for (const char* recipe : {"awq-w3-g32", "awq+gptq-w3-g32"}) {
    const auto artefact = OpenModel(folder.File(recipe));
    const LayerWeights after = artefact->Layer(0);
    const Weight& is = *after.router;
    ASSERT_EQ(Rows(is), Rows(was));
    ASSERT_EQ(Cols(is), Cols(was));
    Matrix a(Rows(was), Cols(was)), b(Rows(was), Cols(was));
    RowsToFloat(was, 0, a.view());
    RowsToFloat(is, 0, b.view());
    const std::vector<float>&norm = before.norms.at("post_attention_layernorm"),
          &scaled = after.norms.at("post_attention_layernorm");
    EXPECT_NE(norm, scaled);
    for (size_t r = 0; r < a.rows(); ++r) {
      for (size_t j = 0; j < a.cols(); ++j) {
        EXPECT_NEAR(a.view().Row(r)[j] * norm[j], b.view().Row(r)[j] * scaled[j], 1e-6) << recipe;
      }
    }
  }
}

TEST(Calibrated, AwqGoesOnWithoutAnExpertThatSawNothing) {
  const TestFolder folder;
  const CheckpointSource source(TinyModel("tiny-qwen3-moe"));
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const CalibrationSet few = SomeTokens(1, 2);
  std::vector<QuantizeCell> cells;
  for (const char* recipe : {"awq-w4-g32:awq_loss=hessian_rows", "awq+gptq-w4-g32"}) {
    cells.push_back({ParseRecipe(recipe), folder.File(recipe)});
  }
  for (const QuantizeResult& result : QuantizeModel({source, *backend, &few}, cells)) {
    EXPECT_THAT(result.info.notes, testing::Contains(HasSubstr("no inputs: awq finds no scales")))
        << result.info.recipe;
    EXPECT_LT(result.info.relative_error, 0.2);
  }
}

TEST(Calibrated, AnExpertThatSawNothingIsRoundedToNearestAndSaid) {
  const TestFolder folder;
  const CheckpointSource source(TinyModel("tiny-qwen3-moe"));
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const CalibrationSet few = SomeTokens(1, 2);
  const std::vector<QuantizeCell> cells = {{ParseRecipe("gptq-w4-g32"), folder.File("q")},
                                           {ParseRecipe("billm"), folder.File("b")}};
  const std::vector<QuantizeResult> results = QuantizeModel({source, *backend, &few}, cells);
  for (const size_t i : {0, 1}) {
    const ArtefactInfo& info = results[i].info;
    EXPECT_THAT(info.notes, testing::Contains(testing::AllOf(
                                HasSubstr("no inputs"),
                                HasSubstr(i == 0 ? "rounded to nearest" : "binarized without it"))));
    EXPECT_EQ(ReadArtefactInfo(cells[i].out_folder).notes, info.notes);
  }
}

}  // namespace
}  // namespace lowbit
