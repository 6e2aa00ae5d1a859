// SPDX-License-Identifier: Apache-2.0
#include "lowbit/checkpoint/artefact.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "lowbit/base/files.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/json.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/checkpoint/packed_testing.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

// An artefact with two layers and a head, over a checkpoint of one tensor.
struct Fixture {
  TestFolder test_folder;
  std::string root = test_folder.File("root"), base = root + "/models/base", folder = root + "/out/q";
  ArtefactInfo info;

  Fixture() {
    fs::create_directories(base);
    fs::create_directories(folder);
    WriteFileAtomic(base + "/config.json", "{}");
    const std::vector<std::byte> data(8);
    const std::vector<NamedTensor> tensors = {{"w", {DType::kF32, {2}, data}}};
    WriteSafetensors(base + "/model.safetensors", tensors);
    const Checkpoint checkpoint(base);
    info.base_folder = base;
    info.base_bytes = checkpoint.TensorBytes();
    info.weights_hash = checkpoint.WeightsHash(Threads(2));
    info.config_hash = Sha256OfFile(base + "/config.json");
    info.recipe = "rtn-w3-g2";
    info.code_version = "1";
    info.layers = 2;
    info.has_head = true;
    info.quantized_weights = 10;
    info.quantized_bits = 41;
    info.model_weights = 20;
    info.model_bits = 201;
    info.relative_error = 0.125;
    info.seconds = 1.5;
    AddFile(LayerFileName(0), Layer(0));
    AddFile(LayerFileName(1), Layer(1));
    AddFile("head.safetensors", Layer(2));
    WriteArtefactInfo(folder, info);
  }
  static PackedTensors Layer(uint32_t seed) {
    return {{fmt::format("layer{}", seed), RandomPacked(3, false, 2, 5, 2, DType::kF16, seed)}};
  }
  void AddFile(const std::string& name, const PackedTensors& tensors) {
    const std::string content = WritePackedFile(folder + "/" + name, tensors);
    info.files[name] = {fs::file_size(folder + "/" + name), content};
  }
  std::string Manifest() const { return ReadFile(folder + "/lowbit.json"); }
};

TEST(Artefact, OpensWhatWasWritten) {
  const Fixture f;
  const Artefact artefact(f.folder);
  EXPECT_TRUE(IsArtefact(f.folder));
  EXPECT_FALSE(IsArtefact(f.base));
  EXPECT_EQ(artefact.info(), f.info);
  EXPECT_TRUE(Same(artefact.Layer(0).packed, f.Layer(0)));
  EXPECT_TRUE(Same(artefact.Layer(1).packed, f.Layer(1)));
  EXPECT_TRUE(Same(artefact.Head(), f.Layer(2)));
  EXPECT_EQ(artefact.info().BitsPerQuantizedWeight(), 4.1);
  EXPECT_EQ(artefact.info().BitsPerModelWeight(), 10.05);
  artefact.VerifyBase(Threads(2));
}

TEST(Artefact, BitsOfItsCodesComeBackWhereTheyAreCounted) {
  Fixture f;
  EXPECT_EQ(ReadArtefactInfo(f.folder).CodeBitsPerWeight(), 0);
  f.info.code_bits = 11;
  WriteArtefactInfo(f.folder, f.info);
  EXPECT_EQ(ReadArtefactInfo(f.folder), f.info);
  EXPECT_EQ(f.info.CodeBitsPerWeight(), 1.1);
}

TEST(Artefact, OutputErrorsOfItsLayersComeBack) {
  Fixture f;
  f.info.held_out = "held out v1";
  f.info.files[LayerFileName(1)].output_errors = {{"layer", 0.25}, {"mlp.up_proj", 1e-9}};
  f.info.files[LayerFileName(1)].input_ranges = {{"mlp.up_proj", {1234.5, 17.25}}};
  WriteArtefactInfo(f.folder, f.info);
  EXPECT_EQ(ReadArtefactInfo(f.folder), f.info);
}

TEST(Artefact, MovesTogetherWithItsBase) {
  const Fixture f;
  EXPECT_THAT(f.Manifest(), HasSubstr("\"base\": \"../../models/base\""));
  const std::string moved = f.test_folder.File("moved");
  fs::rename(f.root, moved);
  EXPECT_EQ(Artefact(moved + "/out/q").info().base_folder, moved + "/models/base");
}

TEST(Artefact, IsFoundThroughALinkToItsFolder) {
  const Fixture f;
  fs::create_directory_symlink(f.folder, f.root + "/link");
  EXPECT_EQ(Artefact(f.root + "/link").info().base_folder, f.base);
}

TEST(Artefact, RefusesAnotherBaseNamingWhatDiffers) {
  const Fixture f;
  WriteFileAtomic(f.base + "/config.json", "{ }");
  EXPECT_THAT(
      MessageOf([&] { Artefact a(f.folder); }, ErrorKind::kConflict),
      AllOf(HasSubstr("lowbit.json: key 'config_hash': "), HasSubstr("made from another checkpoint")));
  WriteFileAtomic(f.base + "/config.json", "{}");

  std::vector<std::byte> data(12);
  WriteSafetensors(f.base + "/model.safetensors", std::vector<NamedTensor>{{"w", {DType::kF32, {3}, data}}});
  EXPECT_THAT(MessageOf([&] { Artefact a(f.folder); }, ErrorKind::kConflict),
              HasSubstr("key 'base_bytes': 8, but the base"));

  data.resize(8);
  data[0] = std::byte{1};
  WriteSafetensors(f.base + "/model.safetensors", std::vector<NamedTensor>{{"w", {DType::kF32, {2}, data}}});
  const Artefact same_size(f.folder);  // found out only by reading everything
  EXPECT_THAT(MessageOf([&] { same_size.VerifyBase(Threads(2)); }, ErrorKind::kConflict),
              HasSubstr("key 'weights_hash': "));
}

TEST(Artefact, SaysThatTheBaseIsGone) {
  const Fixture f;
  fs::remove_all(f.base);
  EXPECT_THAT(MessageOf([&] { Artefact a(f.folder); }, ErrorKind::kMissing),
              AllOf(HasSubstr("lowbit.json: key 'base': no folder "), HasSubstr(f.base)));
}

TEST(Artefact, RefusesMissingCutAndExchangedFiles) {
  const Fixture f;
  const std::string first = f.folder + "/" + LayerFileName(0), second = f.folder + "/" + LayerFileName(1);
  const std::string content = ReadFile(first);

  fs::remove(first);
  EXPECT_THAT(MessageOf([&] { Artefact a(f.folder); }, ErrorKind::kMissing),
              HasSubstr(first + ": No such file"));
  WriteFileAtomic(first, content.substr(1));
  EXPECT_THAT(MessageOf([&] { Artefact a(f.folder); }),
              HasSubstr(fmt::format("{}: {} bytes, expected {}", first, content.size() - 1, content.size())));
  fs::copy_file(second, first, fs::copy_options::overwrite_existing);
  const Artefact exchanged(f.folder);  // both layers have the same size
  EXPECT_THAT(MessageOf([&] { exchanged.Layer(0); }),
              AllOf(HasSubstr(first + ": the content has hash "), HasSubstr("as lowbit.json says")));
}

TEST(ArtefactInfo, RefusesAManifestWithWrongKeysNamingThem) {
  const Fixture f;
  struct Row {
    std::function<void(Json&)> change;
    const char* message;
  };
  const std::vector<Row> rows = {
      {[](Json& j) { j["lowbit_artefact"] = 2; },
       "key 'lowbit_artefact': 2, expected an integer from 1 to 1"},
      {[](Json& j) { j.erase("lowbit_artefact"); }, "key 'lowbit_artefact': missing"},
      {[](Json& j) { j["base"] = ""; }, "key 'base': \"\", expected a text that is not empty"},
      {[](Json& j) { j["base"] = nullptr; }, "key 'base': null, expected a text"},
      {[](Json& j) { j["weights_hash"] = "12"; }, "key 'weights_hash': \"12\", expected a SHA-256"},
      {[](Json& j) { j["weights_hash"] = std::string(64, 'A'); }, "key 'weights_hash': "},
      {[](Json& j) { j["layers"] = 0; }, "key 'layers': 0, expected an integer from 1"},
      {[](Json& j) { j["layers"] = 3; }, "key 'files': 3 files, expected 4: one per layer and the head"},
      {[](Json& j) { j["layers"] = 9223372036854775807; }, "key 'files': 3 files, expected"},
      {[](Json& j) { j["has_head"] = false; }, "key 'files': 3 files, expected 2: one per layer"},
      {[](Json& j) { j["has_head"] = "yes"; }, "key 'has_head': \"yes\", expected true or false"},
      {[](Json& j) { j["quantized_bits"] = 0; }, "key 'quantized_bits': 0, expected"},
      {[](Json& j) { j["model_bits"] = 40; }, "key 'model_bits': 40, expected an integer from 41"},
      {[](Json& j) { j["relative_error"] = -0.5; },
       "key 'relative_error': -0.5, expected a number, 0 or more"},
      {[](Json& j) { j["seconds"] = "1"; }, "key 'seconds': \"1\", expected a number"},
      {[](Json& j) { j["files"] = Json::array(); }, "key 'files': a list, expected an object"},
      {[](Json& j) {
         j["files"].erase("head.safetensors");
         j["files"]["../x"] = 1;
       },
       "key 'files': key 'head.safetensors': missing"},
      {[](Json& j) { j["files"]["head.safetensors"]["bytes"] = -1; },
       "key 'files': key 'head.safetensors': key 'bytes': -1"},
      {[](Json& j) { j["files"]["head.safetensors"]["more"] = 1; },
       "key 'files': key 'head.safetensors': key 'more': unknown key"},
      {[](Json& j) {
         j["files"][LayerFileName(0)]["output_errors"] = {{"layer", "much"}};
       },
       "key 'files': key 'layer-00000.safetensors': key 'output_errors': key 'layer': \"much\", expected"},
      {[](Json& j) { j["files"][LayerFileName(0)]["output_errors"] = 1; },
       "key 'files': key 'layer-00000.safetensors': key 'output_errors': 1, expected an object"},
      {[](Json& j) {
         j["files"][LayerFileName(0)]["input_ranges"] = {{"q", {{"largest", -1}, {"peak", 1}}}};
       },
       "key 'files': key 'layer-00000.safetensors': key 'input_ranges': key 'q': key 'largest': -1, expected "
       "a number, 0 or more"},
      {[](Json& j) {
         j["files"][LayerFileName(0)]["input_ranges"] = {{"q", {{"largest", 1}}}};
       },
       "key 'files': key 'layer-00000.safetensors': key 'input_ranges': key 'q': key 'peak': missing"},
      {[](Json& j) { j["code_bits"] = 9; }, "key 'code_bits': 9, expected an integer from 10 to 41"},
      {[](Json& j) { j["code_bits"] = 42; }, "key 'code_bits': 42, expected an integer from 10 to 41"},
      {[](Json& j) { j["held_out"] = 3; }, "key 'held_out': 3, expected a text"},
      {[](Json& j) { j["more"] = 1; }, "key 'more': unknown key"},
  };
  const std::string good = f.Manifest();
  for (const Row& row : rows) {
    Json json = Json::parse(good);
    row.change(json);
    Overwrite(f.folder + "/lowbit.json", json.dump());
    EXPECT_THAT(MessageOf([&] { ReadArtefactInfo(f.folder); }),
                HasSubstr(std::string("lowbit.json: ") + row.message));
  }
  for (const char* text : {"", "[]", "{", "nonsense"}) {
    Overwrite(f.folder + "/lowbit.json", text);
    EXPECT_NE(MessageOf([&] { ReadArtefactInfo(f.folder); }), "no error") << text;
  }
}

}  // namespace
}  // namespace lowbit
