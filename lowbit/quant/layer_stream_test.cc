// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/layer_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <limits>

#include "lowbit/base/build_info.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/quant/output_folder.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

std::string TinyModel(std::string_view name) {
  return fmt::format("{}/models/{}", LOWBIT_TESTDATA, name);
}

QuantizeResult Quantize(const std::string& model, std::string_view recipe, const std::string& out,
                        int threads = 2) {
  const Threads pool(threads);
  const auto backend = MakeBackend("cpu", "f32", pool);
  const std::vector<QuantizeCell> cells = {{ParseRecipe(recipe), out}};
  return QuantizeFolder(model, cells, *backend)[0];
}

// What() of the Error of this kind that quantizing throws.
std::string Refusal(ErrorKind kind, const std::string& model, std::string_view recipe,
                    const std::string& out) {
  try {
    Quantize(model, recipe, out);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), kind) << e.what();
    return e.what();
  }
  return "no error";
}

// Content of every file but lowbit.json, which says how long it took.
std::map<std::string, std::string> TensorFiles(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") files[entry.path().filename()] = ReadFile(entry.path());
  }
  return files;
}

// Puts `value` in the place of element `index` of a tensor of a single-file checkpoint.
void Poke(const std::string& folder, std::string_view tensor, size_t index, float value) {
  const std::string path = folder + "/model.safetensors";
  size_t at = 0;
  {
    const SafetensorsFile file(path);
    const TensorEntry& entry = *file.Find(tensor);
    ASSERT_EQ(entry.type, DType::kF32);
    at = file.header().data_start + entry.begin + 4 * index;
  }
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(static_cast<std::streamoff>(at));
  file.write(reinterpret_cast<const char*>(&value), 4);
}

TEST(QuantizeModel, RoundsEveryLinearOfEveryLayerAndNothingElse) {
  for (const char* name : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-bf16-sharded"}) {
    for (const char* text :
         {"rtn-w4-g32", "rtn-w3-channel-sym:scale=f32", "rtn-w1-g16", "rtn-w2-g48:range=mse"}) {
      const TestFolder folder;
      const std::string out = folder.File("q");
      const Recipe recipe = ParseRecipe(text);
      Quantize(TinyModel(name), text, out);
      const ArtefactSource source(out);
      const Checkpoint base(TinyModel(name));
      RoundingError error;
      for (size_t l = 0; l < source.layout().layers.size(); ++l) {
        const PackedTensors layer = source.artefact().Layer(l).packed;
        EXPECT_EQ(layer.size(), 7u);
        for (const LinearSpec& linear : source.layout().layers[l].linears) {
          const std::string tensor = ModelLayout::LayerPrefix(l) + linear.name + ".weight";
          ASSERT_TRUE(layer.contains(tensor)) << tensor;
          const std::vector<float> weights = ToFloatVector(base.Get(tensor));
          const MatView<const float> view(weights.data(), linear.out, linear.in);
          PackedTensor want = MakePacked(linear.out, linear.in, recipe.weights);
          RoundRows(view, recipe.weights, 0, Place("test"), Threads(1), want);
          EXPECT_EQ(layer.at(tensor).codes, want.codes) << tensor;
          EXPECT_EQ(layer.at(tensor).scales, want.scales) << tensor;
          EXPECT_EQ(layer.at(tensor).zeros, want.zeros) << tensor;
          EXPECT_EQ(layer.at(tensor).means, want.means) << tensor;
          error += MeasureError(view, want, 0, Threads(1));
        }
      }
      EXPECT_TRUE(source.artefact().Head().empty());
      EXPECT_DOUBLE_EQ(source.artefact().info().relative_error, error.Relative());
      EXPECT_EQ(source.artefact().info().recipe, text);
      EXPECT_EQ(source.artefact().info().code_version, CodeVersion());
      EXPECT_FALSE(fs::exists(out + "/" + std::string(kPlanFileName)));
      source.artefact().VerifyBase(Threads(2));
    }
  }
}

TEST(QuantizeModel, TiedHeadIsRoundedOnceUnderTheNameOfTheEmbedding) {
  const TestFolder folder;
  Quantize(TinyModel("tiny-qwen3"), "rtn-w4-g32:head=w8-g64", folder.File("q"));
  const PackedTensors head = Artefact(folder.File("q")).Head();
  ASSERT_EQ(head.size(), 1u);
  const PackedTensor& embedding = head.at("model.embed_tokens.weight");
  EXPECT_EQ(embedding.bits, 8);
  EXPECT_EQ(embedding.group_size, 64u);
  const ArtefactSource source(folder.File("q"));  // reads it as embedding and as head
  EXPECT_EQ(Rows(source.Head()), embedding.rows);
}

TEST(QuantizeModel, UntiedHeadAndEmbeddingAreTwoMatrices) {
  const TestFolder folder;
  Quantize(TinyModel("tiny-llama3"), "rtn-w4-g32:head=w6-channel-sym", folder.File("q"));
  const PackedTensors head = Artefact(folder.File("q")).Head();
  EXPECT_EQ(head.size(), 2u);
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
    const TensorView tensor = Checkpoint(TinyModel("tiny-llama3")).Get(name);
    const std::vector<float> weights = ToFloatVector(Checkpoint(TinyModel("tiny-llama3")).Get(name));
    const WeightSpec spec{.bits = 6, .symmetric = true};
    PackedTensor want = MakePacked(512, 64, spec);
    RoundRows(MatView<const float>(weights.data(), 512, 64), spec, 0, Place("test"), Threads(1), want);
    ASSERT_TRUE(head.contains(name));
    EXPECT_EQ(head.at(name).codes, want.codes);
    EXPECT_EQ(head.at(name).scales, want.scales);
  }
}

// tiny-qwen3: hidden 64, intermediate 128, 4 and 2 heads of 32, 2 layers, 512 tokens, tied, F32.
constexpr uint64_t kLinears = 2 * (128 * 64 + 2 * 64 * 64 + 64 * 128 + 3 * 64 * 128);
constexpr uint64_t kNorms = 2 * (64 + 64 + 32 + 32) + 64;
constexpr uint64_t kEmbedding = 512 * 64;

TEST(QuantizeModel, CountsScalesZeroPointsAndKeptTensorsInTheirOwnType) {
  const TestFolder folder;
  const ModelConfig config = LoadConfig(TinyModel("tiny-qwen3"));
  ASSERT_EQ(config.QuerySize(), 128u);
  ASSERT_EQ(config.KeyValueSize(), 64u);
  const ArtefactInfo kept = Quantize(TinyModel("tiny-qwen3"), "rtn-w3-g32", folder.File("kept")).info;
  EXPECT_EQ(kept.quantized_weights, kLinears);
  EXPECT_EQ(kept.quantized_bits, kLinears * 3 + kLinears / 32 * (16 + 3));
  EXPECT_EQ(kept.model_weights, kLinears + kNorms + kEmbedding);
  EXPECT_EQ(kept.model_bits, kept.quantized_bits + 32 * (kNorms + kEmbedding));

  const ArtefactInfo head =
      Quantize(TinyModel("tiny-qwen3"), "rtn-w3-g32:head=w8-channel-sym", folder.File("head")).info;
  EXPECT_EQ(head.quantized_weights, kLinears + kEmbedding);  // the tied head once
  EXPECT_EQ(head.quantized_bits, kept.quantized_bits + kEmbedding * 8 + 512 * 16);
  EXPECT_EQ(head.model_weights, kept.model_weights);
  EXPECT_EQ(head.model_bits, head.quantized_bits + 32 * kNorms);
  EXPECT_EQ(head.FileBytes(), fs::file_size(folder.File("head/layer-00000.safetensors")) +
                                  fs::file_size(folder.File("head/layer-00001.safetensors")) +
                                  fs::file_size(folder.File("head/head.safetensors")));
}

TEST(QuantizeModel, NumberOfThreadsDoesNotChangeAByte) {
  const TestFolder folder;
  for (const char* recipe : {"rtn-w4-g32:head=w8-g64", "rtn-w1-g64"}) {
    const std::string one = folder.File(std::string("1") + recipe);
    const ArtefactInfo info = Quantize(TinyModel("tiny-qwen3"), recipe, one, 1).info;
    for (const int threads : {2, 3}) {
      const std::string many = folder.File(std::to_string(threads) + recipe);
      EXPECT_EQ(Quantize(TinyModel("tiny-qwen3"), recipe, many, threads).info.relative_error,
                info.relative_error);
      EXPECT_EQ(TensorFiles(many), TensorFiles(one));
    }
  }
}

// What a run leaves that is killed before the first file: the plan.
void BeginRun(const std::string& out, const ArtefactInfo& like) {
  OutputFolder folder(out, {like.weights_hash, like.config_hash, like.recipe, like.code_version});
  folder.Begin();
}

TEST(QuantizeModel, ResumedRunEndsWithTheSameBytesWhereverItWasKilled) {
  const TestFolder folder;
  const std::string model = TinyModel("tiny-llama3"), recipe = "rtn-w4-g32:head=w8-g64",
                    whole = folder.File("whole");
  const ArtefactInfo info = Quantize(model, recipe, whole).info;
  const std::vector<std::string> files = {"layer-00000.safetensors", "layer-00001.safetensors",
                                          "head.safetensors"};
  for (size_t done = 0; done <= files.size(); ++done) {
    const std::string out = folder.File(fmt::format("killed{}", done));
    BeginRun(out, info);
    for (size_t i = 0; i < done; ++i) fs::copy_file(whole + "/" + files[i], out + "/" + files[i]);
    EXPECT_FALSE(IsArtefact(out));
    const QuantizeResult resumed = Quantize(model, recipe, out);
    EXPECT_EQ(resumed.kept_files, done);
    EXPECT_EQ(TensorFiles(out), TensorFiles(whole));
    ArtefactInfo same = resumed.info;
    same.seconds = info.seconds;
    EXPECT_EQ(same, info);
  }
}

TEST(QuantizeModel, ResumeMakesDamagedAndForeignFilesAgain) {
  const TestFolder folder;
  const std::string model = TinyModel("tiny-qwen3"), whole = folder.File("whole"),
                    other = folder.File("other");
  const ArtefactInfo info = Quantize(model, "rtn-w4-g32", whole).info;
  Quantize(model, "rtn-w3-g32", other);
  const std::string out = folder.File("out");
  BeginRun(out, info);
  std::string damaged = ReadFile(whole + "/layer-00000.safetensors");
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  WriteFileAtomic(out + "/layer-00000.safetensors", damaged);
  fs::copy_file(other + "/layer-00001.safetensors", out + "/layer-00001.safetensors");
  EXPECT_EQ(Quantize(model, "rtn-w4-g32", out).kept_files, 0u);
  EXPECT_EQ(TensorFiles(out), TensorFiles(whole));
}

TEST(QuantizeModel, RemovesWhatAKilledProcessLeftHalfWritten) {
  const TestFolder folder;
  fs::create_directories(folder.File("q"));
  const std::string stale = folder.Write("q/.layer-00000.safetensors.999999999.tmp", "half");
  Quantize(TinyModel("tiny-qwen3"), "rtn-w4-g32", folder.File("q"));
  EXPECT_FALSE(fs::exists(stale));
}

TEST(QuantizeModel, SecondRunOfAFinishedArtefactKeepsEveryFile) {
  const TestFolder folder;
  const std::string out = folder.File("q");
  const ArtefactInfo first = Quantize(TinyModel("tiny-qwen3"), "rtn-w4-g32", out).info;
  const auto written = fs::last_write_time(out + "/layer-00001.safetensors");
  const QuantizeResult second = Quantize(TinyModel("tiny-qwen3"), "rtn-w4-g32", out);
  EXPECT_EQ(second.kept_files, 2u);
  EXPECT_EQ(second.info.files, first.files);
  EXPECT_EQ(second.info.seconds, first.seconds);
  EXPECT_EQ(fs::last_write_time(out + "/layer-00001.safetensors"), written);
}

TEST(QuantizeModel, FinishedArtefactThatLostALayerIsCompletedAgain) {
  const TestFolder folder;
  const std::string out = folder.File("q");
  Quantize(TinyModel("tiny-qwen3"), "rtn-w4-g32", out);
  const auto files = TensorFiles(out);
  fs::remove(out + "/layer-00001.safetensors");
  EXPECT_EQ(Quantize(TinyModel("tiny-qwen3"), "rtn-w4-g32", out).kept_files, 1u);
  EXPECT_EQ(TensorFiles(out), files);
  const Artefact artefact(out);
}

TEST(QuantizeModel, KnownWeightsHashGivesTheSameArtefact) {
  const TestFolder folder;
  const CheckpointSource source(TinyModel("tiny-qwen3"));
  const ArtefactInfo a = Quantize(TinyModel("tiny-qwen3"), "rtn-w4-g32", folder.File("a")).info;
  const Threads one(1);
  const auto backend = MakeBackend("cpu", "f32", one);
  const std::vector<QuantizeCell> cells = {{ParseRecipe("rtn-w4-g32"), folder.File("b")}};
  const ArtefactInfo b = QuantizeModel({source, *backend, nullptr, {}, a.weights_hash}, cells)[0].info;
  EXPECT_EQ(a.weights_hash, b.weights_hash);
  EXPECT_EQ(a.files, b.files);
}

TEST(QuantizeModel, RefusesAFolderMadeFromOtherInputsNamingTheDifference) {
  const TestFolder folder, model;
  model.CopyFrom(TinyModel("tiny-qwen3"));
  const std::string out = folder.File("q");
  const ArtefactInfo info = Quantize(model.path(), "rtn-w4-g32", out).info;
  EXPECT_THAT(Refusal(ErrorKind::kConflict, model.path(), "rtn-w4-g64", out),
              AllOf(HasSubstr(out + "/lowbit.json: key 'recipe': rtn-w4-g32, but this run has rtn-w4-g64"),
                    HasSubstr("name a new folder")));

  const std::string begun = folder.File("begun");
  BeginRun(begun, info);
  EXPECT_THAT(Refusal(ErrorKind::kConflict, model.path(), "rtn-w4-g64", begun),
              HasSubstr("quantize.plan.json: key 'recipe'"));

  Poke(model.path(), "model.norm.weight", 3, 0.5f);
  EXPECT_THAT(Refusal(ErrorKind::kConflict, model.path(), "rtn-w4-g32", out),
              HasSubstr("key 'weights_hash': "));
  EXPECT_THAT(Refusal(ErrorKind::kConflict, model.path(), "rtn-w4-g32", begun),
              HasSubstr("key 'weights_hash': "));

  ArtefactInfo older = info;
  older.code_version = "0.0.1";
  const std::string old_folder = folder.File("old");
  BeginRun(old_folder, older);
  EXPECT_THAT(Refusal(ErrorKind::kConflict, TinyModel("tiny-qwen3"), "rtn-w4-g32", old_folder),
              HasSubstr("key 'code_version': 0.0.1, but this run has "));
}

TEST(QuantizeModel, RefusesAFolderWithOtherThings) {
  const TestFolder folder;
  folder.Write("thesis.tex", "x");
  EXPECT_THAT(Refusal(ErrorKind::kConflict, TinyModel("tiny-qwen3"), "rtn-w4-g32", folder.path()),
              HasSubstr("is not empty and no artefact of lowbit quantize"));
  EXPECT_EQ(ReadFile(folder.File("thesis.tex")), "x");
  EXPECT_THAT(Refusal(ErrorKind::kConflict, TinyModel("tiny-qwen3"), "rtn-w4-g32", folder.File("thesis.tex")),
              HasSubstr("is a file, expected a folder"));
}

TEST(QuantizeModel, RefusesToWriteIntoTheModel) {
  const TestFolder model;
  model.CopyFrom(TinyModel("tiny-qwen3"));
  for (const std::string& same : {model.path(), model.path() + "/",
                                  model.path() + "/../" + fs::path(model.path()).filename().string()}) {
    EXPECT_THAT(Refusal(ErrorKind::kConflict, model.path(), "rtn-w4-g32", same),
                HasSubstr("is the model's own folder"));
  }
}

TEST(QuantizeModel, RefusesAPlanItCannotRead) {
  const TestFolder folder;
  for (const char* text : {"", "{}", "{\"lowbit_plan\": 2}", "[]"}) {
    folder.Write(kPlanFileName, text);
    EXPECT_THAT(Refusal(ErrorKind::kContent, TinyModel("tiny-qwen3"), "rtn-w4-g32", folder.path()),
                HasSubstr("quantize.plan.json: "));
  }
}

TEST(QuantizeModel, RefusesFullAndModelsThatAreQuantizedAlready) {
  const TestFolder folder;
  EXPECT_THAT(Refusal(ErrorKind::kUsage, TinyModel("tiny-qwen3"), "full", folder.File("q")),
              HasSubstr("'full' quantizes nothing"));
  EXPECT_FALSE(fs::exists(folder.File("q")));
  Quantize(TinyModel("tiny-qwen3"), "rtn-w4-g32", folder.File("q"));
  EXPECT_THAT(Refusal(ErrorKind::kUsage, folder.File("q"), "rtn-w4-g32", folder.File("r")),
              AllOf(HasSubstr("is quantized already"), HasSubstr("tiny-qwen3")));
}

TEST(QuantizeModel, StopsAtWeightsThatAreNotFiniteAndLeavesNoArtefact) {
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    const TestFolder folder, model;
    model.CopyFrom(TinyModel("tiny-qwen3"));
    Poke(model.path(), "model.layers.1.mlp.up_proj.weight", 64 * 5 + 7, bad);
    EXPECT_THAT(Refusal(ErrorKind::kNumeric, model.path(), "rtn-w4-g32", folder.File("q")),
                AllOf(HasSubstr("model.safetensors: tensor 'model.layers.1.mlp.up_proj.weight': "),
                      HasSubstr("[5, 7]")));
    EXPECT_FALSE(IsArtefact(folder.File("q")));
    EXPECT_TRUE(fs::exists(folder.File("q/layer-00000.safetensors")));
  }
}

TEST(QuantizeModel, NamesTheTensorWhoseScaleDoesNotFit) {
  const TestFolder folder, model;
  model.CopyFrom(TinyModel("tiny-qwen3"));
  Poke(model.path(), "model.layers.0.self_attn.o_proj.weight", 2, 3e6f);
  EXPECT_THAT(
      Refusal(ErrorKind::kNumeric, model.path(), "rtn-w4-g32", folder.File("q")),
      AllOf(HasSubstr(model.path() + ": tensor 'model.layers.0.self_attn.o_proj.weight': row 0: group 0: "),
            HasSubstr("scale=f32")));
  Quantize(model.path(), "rtn-w4-g32:scale=f32", folder.File("r"));
}

TEST(OutputFolder, IsForOneProcessAtATime) {
  const TestFolder folder;
  const std::string hash(64, '0');
  const OutputFolder first(folder.File("q"), {hash, hash, "rtn-w4-g32", "1"});
  EXPECT_THROW(OutputFolder(folder.File("q"), {hash, hash, "rtn-w4-g32", "1"}), Error);
}

}  // namespace
}  // namespace lowbit
