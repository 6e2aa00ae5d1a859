// SPDX-License-Identifier: Apache-2.0
// Numbers that methods cannot do with as they are asked to: each is told as a note, or ends the run by name.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <limits>
#include <random>

#include "lowbit/base/test_folder.h"
#include "lowbit/quant/gptq.h"
#include "lowbit/quant/layer_stream.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/rounding.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

CalibrationSet SomeTokens() {
  CalibrationSet set;
  set.spec.samples = 6;
  set.spec.length = 40;
  set.hash = std::string(64, 'c');
  set.held_out_hash = std::string(64, 'e');
  std::mt19937 random(7);
  for (size_t s = 0; s < 7; ++s) {
    TokenIds& ids = (s < 6 ? set.sequences : set.held_out).emplace_back();
    for (size_t t = 0; t < 40; ++t) ids.push_back(static_cast<int32_t>(random() % 512));
  }
  return set;
}

// A tiny model of which some elements of tensors are others.
class BentModel {
 public:
  explicit BentModel(const char* name = "tiny-qwen3") {
    folder_.CopyFrom(fmt::format("{}/models/{}", LOWBIT_TESTDATA, name));
  }

  // value(i) takes the place of elements [first, first + count).
  BentModel& Set(std::string_view tensor, size_t first, size_t count,
                 const std::function<float(size_t)>& value) {
    const std::string path = folder_.File("model.safetensors");
    size_t at = 0;
    {
      const SafetensorsFile file(path);
      const TensorEntry& entry = *file.Find(tensor);
      EXPECT_EQ(entry.type, DType::kF32);
      EXPECT_LE(4 * (first + count), entry.end - entry.begin);
      at = file.header().data_start + entry.begin + 4 * first;
    }
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(at));
    for (size_t i = 0; i < count; ++i) {
      const float v = value(i);
      file.write(reinterpret_cast<const char*>(&v), sizeof v);
    }
    return *this;
  }

  ArtefactInfo Quantize(std::string_view recipe) const {
    const TestFolder out;
    const CheckpointSource source(folder_.path());
    const Threads threads(2);
    const auto backend = MakeBackend("cpu", "f32", threads);
    const CalibrationSet set = SomeTokens();
    const std::vector<QuantizeCell> cells = {{ParseRecipe(recipe), out.File("q")}};
    const ArtefactInfo info = QuantizeModel({source, *backend, &set}, cells)[0].info;
    EXPECT_EQ(ReadArtefactInfo(out.File("q")).notes, info.notes) << "what is said is kept";
    return info;
  }

 private:
  TestFolder folder_;
};

constexpr const char* kUp = "model.layers.1.mlp.up_proj.weight";  // [128, 64]

TEST(NumericTrouble, AModelInOrderHasNoNotes) {
  for (const char* recipe : {"rtn-w4-g32", "gptq-w4-g32", "awq-w4-g32"})
    EXPECT_THAT(BentModel().Quantize(recipe).notes, IsEmpty()) << recipe;
}

TEST(NumericTrouble, InputsThatAreAlwaysZeroAreCounted) {
  BentModel model;
  model.Set("model.layers.1.input_layernorm.weight", 3, 2, [](size_t) { return 0.0f; });
  for (const char* recipe : {"gptq-w4-g32", "gptq-w3-channel:act_order=true", "awq-w4-g32",
                             "rtn-w4-g32:range=hdiag", "awq+gptq-w4-g32"}) {
    const ArtefactInfo info = model.Quantize(recipe);
    EXPECT_THAT(info.notes, Contains(AllOf(HasSubstr("layer 1"), HasSubstr("attn_in"),
                                           HasSubstr("2 of 64 inputs always 0"))))
        << recipe;
    EXPECT_THAT(info.notes, Not(Contains(HasSubstr("layer 0")))) << recipe;
  }
}

// All of a module's inputs: there is nothing to learn from, nor to measure.
TEST(NumericTrouble, AModuleWithoutInputsIsRoundedToNearestAndHasNoOutputError) {
  BentModel model;
  model.Set("model.layers.0.post_attention_layernorm.weight", 0, 64, [](size_t) { return 0.0f; });
  const ArtefactInfo info = model.Quantize("gptq-w4-g32");
  EXPECT_THAT(info.notes, Contains(AllOf(HasSubstr("layer 0"), HasSubstr("mlp_in"), HasSubstr("no inputs"),
                                         HasSubstr("rounded to nearest"))));
  EXPECT_THAT(info.notes,
              Contains(AllOf(HasSubstr("layer 0: mlp.up_proj"), HasSubstr("no relative output error"))));
  EXPECT_FALSE(info.files.at(LayerFileName(0)).output_errors.contains("mlp.up_proj"));
  EXPECT_TRUE(info.files.at(LayerFileName(0)).output_errors.contains("self_attn.q_proj"));
}

TEST(NumericTrouble, GroupsOfOneValueAreCountedByTensorAndThoseThatAreLost) {
  BentModel model;
  model.Set(kUp, 64 * 7, 32, [](size_t) { return 0.02f; });        // the first group of a row
  model.Set(kUp, 64 * 9 + 32, 32, [](size_t) { return -0.01f; });  // the second one of another
  for (const char* recipe : {"rtn-w4-g32", "gptq-w4-g32"}) {
    EXPECT_THAT(
        model.Quantize(recipe).notes,
        Contains(AllOf(HasSubstr(kUp), HasSubstr("2 of 256 groups hold one value"), Not(HasSubstr("lost")))))
        << recipe;
  }
  EXPECT_THAT(
      model.Quantize("rtn-w4-g32:grid=awq").notes,
      Contains(AllOf(HasSubstr(kUp), HasSubstr("2 of 256 groups hold one value, 2 of them are lost"))));
}

TEST(NumericTrouble, RowsOfZerosAreCountedAndStayZeroInEveryMethod) {
  BentModel model;
  model.Set(kUp, 64 * 5, 64 * 2, [](size_t) { return 0.0f; });
  for (const char* recipe : {"rtn-w4-g32", "gptq-w4-g32", "gptq-w3-channel:act_order=true", "awq-w4-g32"}) {
    EXPECT_THAT(model.Quantize(recipe).notes,
                Contains(AllOf(HasSubstr(kUp), HasSubstr("2 of 128 rows are 0"))))
        << recipe;
  }
  // As they are stored.
  Matrix w = RandomMatrix(8, 64, 3, 0.05f);
  std::fill_n(w.view().Row(5), 64, 0.0f);
  InputStatistics statistics(64);
  const Threads threads(1);
  const auto backend = MakeBackend("cpu", "f32", threads);
  statistics.Add(*backend, RandomMatrix(100, 64, 4).view());
  for (const char* text : {"rtn-w2-g16", "rtn-w4-g16-sym", "gptq-w2-g16", "gptq-w4-channel", "awq-w3-g32"}) {
    const Recipe recipe = ParseRecipe(text);
    const Method& method = *FindMethod(recipe.method);
    Notes notes;
    const auto context =
        method.Prepare(recipe, recipe.weights, {statistics, {}}, Place("test"), threads, notes);
    const RoundJob job{w.view(), 0, "w", "test", recipe, recipe.weights, threads, context.get()};
    PackedTensor packed = method.Make(8, 64, job);
    method.Round(job, packed);
    Matrix values(8, 64);
    Dequantize(packed, 0, values.view());
    EXPECT_THAT(values.view().RowSpan(5), Each(0.0f)) << text;
  }
}

// No damping of the ladder helps a matrix that no inputs can have made.
TEST(NumericTrouble, AGramMatrixThatIsNeverDefiniteIsSaidAndRoundedToNearest) {
  const Threads threads(1);
  const Recipe recipe = ParseRecipe("gptq-w4-g16");
  const Method& gptq = *FindMethod("gptq");
  InputStatistics statistics(32);
  statistics.tokens = 9;
  for (size_t i = 0; i < 32; ++i) {
    statistics.Gram().Row(i)[i] = 1;
    for (size_t j = i + 1; j < 32; ++j) statistics.Gram().Row(i)[j] = -3;
  }
  Notes notes;
  const Place place = Place().Item("layer 3").Item("mlp_in");
  const auto context = gptq.Prepare(recipe, recipe.weights, {statistics, {}}, place, threads, notes);
  EXPECT_THAT(notes, testing::ElementsAre(AllOf(HasSubstr("layer 3"), HasSubstr("mlp_in"),
                                                HasSubstr("9 tokens"), HasSubstr("not positive definite"),
                                                HasSubstr("rounded to nearest"))));
  const Matrix w = RandomMatrix(5, 32, 1, 0.05f);
  const RoundJob job{w.view(), 0, "w", "test", recipe, recipe.weights, threads, context.get()};
  PackedTensor packed = gptq.Make(5, 32, job), nearest = MakePacked(5, 32, recipe.weights);
  gptq.Round(job, packed);
  RoundRows(w.view(), recipe.weights, 0, place, threads, nearest);
  EXPECT_EQ(packed.codes, nearest.codes);
  EXPECT_EQ(packed.scales, nearest.scales);
}

TEST(NumericTrouble, WeightsThatAreNotFiniteEndTheRunNamingTheTensor) {
  for (const char* recipe : {"rtn-w4-g32", "gptq-w4-g32", "awq-w4-g32"}) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      BentModel model;
      model.Set(kUp, 64 * 5 + 7, 1, [&](size_t) { return bad; });
      try {
        model.Quantize(recipe);
        ADD_FAILURE() << recipe;
      } catch (const Error& e) {
        EXPECT_EQ(e.kind(), ErrorKind::kNumeric) << e.what();
        EXPECT_THAT(e.what(), AllOf(HasSubstr(kUp), HasSubstr("[5, 7]"))) << recipe;
      }
    }
  }
}

TEST(NumericTrouble, AScaleThatDoesNotFitEndsTheRunNamingTensorAndGroup) {
  for (const char* recipe : {"rtn-w4-g32", "gptq-w4-g32", "awq-w4-g32"}) {
    BentModel model;
    model.Set(kUp, 64 * 5 + 40, 1, [](size_t) { return 3e6f; });
    try {
      model.Quantize(recipe);
      ADD_FAILURE() << recipe;
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kNumeric) << e.what();
      EXPECT_THAT(e.what(),
                  AllOf(HasSubstr("too large for F16"), HasSubstr("row 5"), HasSubstr("scale=f32")));
    }
  }
}

}  // namespace
}  // namespace lowbit
