// SPDX-License-Identifier: Apache-2.0
// Output errors on held-out rows, through the driver: where they are kept, and what they say about methods.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <random>

#include "lowbit/base/files.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/model/decoder.h"
#include "lowbit/quant/layer_stream.h"
#include "lowbit/quant/output_error.h"
#include "lowbit/text/tokenizer.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const std::string kTiny = LOWBIT_TESTDATA "/models/tiny-qwen3";
const std::string kDemo = LOWBIT_SOURCE_DIR "/data/demo-qwen3";

CalibrationSet SomeTokens(size_t held_out = 2) {
  CalibrationSet set;
  set.spec.samples = 6;
  set.spec.length = 40;
  set.hash = std::string(64, 'c');
  std::mt19937 random(7);
  const auto add = [&](std::vector<TokenIds>& sequences) {
    TokenIds& ids = sequences.emplace_back();
    for (size_t t = 0; t < 40; ++t) ids.push_back(static_cast<int32_t>(random() % 512));
  };
  for (size_t s = 0; s < 6; ++s) add(set.sequences);
  for (size_t s = 0; s < held_out; ++s) add(set.held_out);
  if (held_out > 0) set.held_out_hash = std::string(64, static_cast<char>('0' + held_out));
  return set;
}

std::vector<QuantizeResult> Quantize(const std::string& model, const std::vector<std::string>& recipes,
                                     const std::string& out, const CalibrationSet& set) {
  const CheckpointSource source(model);
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  std::vector<QuantizeCell> cells;
  for (const std::string& recipe : recipes) cells.push_back({ParseRecipe(recipe), out + "/" + recipe});
  return QuantizeModel({source, *backend, &set}, cells);
}

double MeanOf(const ArtefactInfo& info, std::string_view linear) {
  double sum = 0;
  for (size_t l = 0; l < info.layers; ++l)
    sum += info.files.at(LayerFileName(l)).output_errors.at(std::string(linear));
  return sum / static_cast<double>(info.layers);
}

TEST(HeldOut, EveryRecipesLayersAreMeasuredAndKeptInTheArtefact) {
  const TestFolder folder;
  const std::vector<std::string> recipes = {"rtn-w8-g32:head=w8-g32", "rtn-w4-g32", "rtn-w2-g32",
                                            "gptq-w4-g32", "awq-w4-g32"};
  const CalibrationSet set = SomeTokens();
  std::map<std::string, double> means;
  for (const QuantizeResult& result : Quantize(kTiny, recipes, folder.path(), set)) {
    const Artefact artefact(folder.File(result.info.recipe));
    EXPECT_EQ(artefact.info(), result.info);
    EXPECT_EQ(artefact.info().held_out, HeldOutKey(set, Compute::kF32));
    for (size_t l = 0; l < 2; ++l) {
      const LayerPatch patch = artefact.Layer(l);
      ASSERT_TRUE(patch.output_errors) << result.info.recipe;
      EXPECT_EQ(patch.output_errors->rows, artefact.info().held_out);
      EXPECT_EQ(patch.output_errors->relative.size(), 8u) << "seven linears and the layer";
      EXPECT_EQ(patch.output_errors->relative, artefact.info().files.at(LayerFileName(l)).output_errors);
    }
    means[result.info.recipe] = MeanOf(artefact.info(), kWholeLayer);
  }
  EXPECT_LT(means["rtn-w8-g32:head=w8-g32"], 0.1 * means["rtn-w4-g32"]);
  EXPECT_LT(means["rtn-w4-g32"], 0.5 * means["rtn-w2-g32"]);
}

TEST(HeldOut, LayersThatWereMeasuredOnOtherRowsAreMadeAgain) {
  const TestFolder folder;
  const std::vector<std::string> recipes = {"rtn-w4-g32"};
  const std::string first = folder.File("rtn-w4-g32/layer-00000.safetensors"),
                    last = folder.File("rtn-w4-g32/layer-00001.safetensors");
  Quantize(kTiny, recipes, folder.path(), SomeTokens(2));
  const std::string two = ReadFile(first);
  fs::remove(last);
  EXPECT_EQ(Quantize(kTiny, recipes, folder.path(), SomeTokens(2))[0].kept_files, 1u);
  EXPECT_EQ(ReadFile(first), two);
  fs::remove(last);
  const QuantizeResult other = Quantize(kTiny, recipes, folder.path(), SomeTokens(1))[0];
  EXPECT_EQ(other.kept_files, 0u);
  EXPECT_EQ(other.info.held_out, HeldOutKey(SomeTokens(1), Compute::kF32));
  EXPECT_NE(ReadFile(first), two);
}

TEST(HeldOut, AFinishedArtefactStaysAndSaysThatItsErrorsAreOthers) {
  const TestFolder folder;
  const std::vector<std::string> recipes = {"rtn-w4-g32"};
  const QuantizeResult none = Quantize(kTiny, recipes, folder.path(), SomeTokens(0))[0];
  EXPECT_THAT(none.info.notes, Contains(HasSubstr("no tokens behind the set")));
  EXPECT_EQ(none.info.held_out, "");
  EXPECT_THAT(none.info.files.at(LayerFileName(0)).output_errors, IsEmpty());
  EXPECT_EQ(ReadArtefactInfo(folder.File("rtn-w4-g32")).notes, none.info.notes);
  const QuantizeResult again = Quantize(kTiny, recipes, folder.path(), SomeTokens(2))[0];
  EXPECT_EQ(again.kept_files, 2u);
  EXPECT_THAT(again.info.notes, Contains(HasSubstr("made without held-out rows")));
}

TEST(HeldOut, WithoutCalibrationNothingIsMeasuredAndNothingSaid) {
  const TestFolder folder;
  const CheckpointSource source(kTiny);
  const Threads threads(1);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const std::vector<QuantizeCell> cells = {{ParseRecipe("rtn-w4-g32"), folder.File("q")}};
  const ArtefactInfo info = QuantizeModel({source, *backend}, cells)[0].info;
  EXPECT_THAT(info.notes, IsEmpty());
  EXPECT_EQ(info.held_out, "");
}

// Mean of -log p over windows of a text that nobody learned from: enough of it, as the ratio of two models strays by a
// thousandth on a few hundred tokens.
double NegativeLogLikelihood(const std::string& model) {
  const Threads threads(2);
  const auto backend = MakeBackend("cpu", "f32", threads);
  std::vector<int32_t> ids = Tokenizer::Load(kDemo).Encode(
      ReadFile(LOWBIT_SOURCE_DIR "/data/wikitext2/wiki.test.raw").substr(0, 12000), false);
  std::vector<ScoreRequest> requests;
  for (size_t begin = 0; begin + 256 <= ids.size(); begin += 256)
    requests.push_back({std::span(ids).subspan(begin, 256), 1});
  EXPECT_GE(requests.size(), 4u);
  double sum = 0, count = 0;
  const auto source = OpenModel(model);
  for (const auto& scores : Decoder(*source, *backend).Score(requests)) {
    for (const TokenScore& score : scores) sum -= score.log_prob, ++count;
  }
  return sum / count;
}

// Text that the methods did not see: what they learned holds there too. 8 bits of GPTQ lose less than a hundredth of
// what 4 bits lose that are rounded to nearest, and a thousandth of the perplexity at most (docs/methods.md).
TEST(HeldOut, MethodsThatLearnLoseLessOnTextTheyDidNotSee) {
  const TestFolder folder;
  const CalibrationSet set =
      LoadCalibrationSet({.file = LOWBIT_SOURCE_DIR "/data/c4/train.head.jsonl", .samples = 6, .length = 256},
                         Tokenizer::Load(kDemo));
  ASSERT_EQ(set.held_out.size(), 2u);
  const std::vector<QuantizeResult> results = Quantize(
      kDemo, {"rtn-w4-g64", "gptq-w4-g64", "awq-w4-g64:awq_loss=hessian", "gptq-w8-g64"}, folder.path(), set);
  const double rtn = MeanOf(results[0].info, kWholeLayer), gptq = MeanOf(results[1].info, kWholeLayer),
               awq = MeanOf(results[2].info, kWholeLayer);
  EXPECT_LT(gptq, 0.9 * rtn);
  EXPECT_LT(awq, 0.95 * rtn);
  for (size_t l = 0; l < results[0].info.layers; ++l) {
    const auto error_of = [&](size_t i) {
      return results[i].info.files.at(LayerFileName(l)).output_errors.at(std::string(kWholeLayer));
    };
    EXPECT_LT(error_of(3), 0.01 * error_of(0)) << "layer " << l;
  }
  const double full = NegativeLogLikelihood(kDemo), eight = NegativeLogLikelihood(folder.File("gptq-w8-g64"));
  EXPECT_NEAR(std::exp(eight - full), 1, 0.001);
  EXPECT_GT(NegativeLogLikelihood(folder.File("rtn-w4-g64")), full + 0.001) << "the text can tell";
}

}  // namespace
}  // namespace lowbit
