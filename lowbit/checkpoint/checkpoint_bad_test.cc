// SPDX-License-Identifier: Apache-2.0
// Shard indices and folders that are refused, and what the refusal says: one row per defect.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "lowbit/base/json.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/checkpoint/checkpoint.h"

namespace lowbit {
namespace {
namespace fs = std::filesystem;

using ::testing::HasSubstr;

const std::string kSharded = LOWBIT_TESTDATA "/models/tiny-qwen3-bf16-sharded";
constexpr const char* kIndex = "model.safetensors.index.json";
constexpr const char* kShard3 = "model-00003-of-00006.safetensors";
constexpr const char* kShard4 = "model-00004-of-00006.safetensors";
constexpr const char* kNorm = "model.layers.0.input_layernorm.weight";  // in shard 3

struct Bad {
  const char* name;
  std::function<void(const TestFolder&)> damage;  // of a copy of the sharded tiny model
  ErrorKind kind;
  const char* file;     // its name is at the begin of the message
  const char* place;    // what follows
  const char* message;  // part of the message

  friend void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }
};

auto IndexText(std::string text) {
  return [text](const TestFolder& folder) { folder.Write(kIndex, text); };
}

auto EditIndex(std::function<void(Json&)> edit) {
  return [edit](const TestFolder& folder) {
    Json index = ReadJsonFile(folder.File(kIndex));
    edit(index);
    folder.Write(kIndex, index.dump());
  };
}

auto MapNormTo(Json file) {
  return EditIndex([file](Json& index) { index["weight_map"][kNorm] = file; });
}

auto ReplaceInIndex(std::string from, std::string to) {
  return [from, to](const TestFolder& folder) {
    std::string text = ReadFile(folder.File(kIndex));
    text.replace(text.find(from), from.size(), to);
    folder.Write(kIndex, text);
  };
}

// A shard "extra.safetensors" with another copy of the norm, mapped by a tensor of its own.
auto SecondCopy(float value) {
  return [value](const TestFolder& folder) {
    const std::vector<float> values(64, value);
    const TensorView view{DType::kF32, {64}, std::as_bytes(std::span(values))};
    const std::vector<NamedTensor> tensors = {{kNorm, view}, {"extra", view}};
    WriteSafetensors(folder.File("extra.safetensors"), tensors);
    EditIndex([](Json& index) { index["weight_map"]["extra"] = "extra.safetensors"; })(folder);
  };
}

std::vector<Bad> Indices() {
  constexpr ErrorKind kContent = ErrorKind::kContent;
  const std::string nested = std::string(100'000, '[');
  return {
      {"empty index", IndexText(""), kContent, kIndex, "byte 0", "the JSON text ends here"},
      {"cut index", IndexText(R"({"weight_map":{"a)"), kContent, kIndex, "byte 15", "a string without end"},
      {"index a list", IndexText("[]"), kContent, kIndex, "[]", "expected an object with key 'weight_map'"},
      {"index not UTF-8", IndexText("{\"\xff\":1}"), kContent, kIndex, "byte 2", "not valid UTF-8"},
      {"two objects", IndexText(R"({"weight_map":{"a":"b"}}{})"), kContent, kIndex, "byte 24",
       "expected the end"},
      {"no map", IndexText(R"({"metadata":{}})"), kContent, kIndex, "key 'weight_map'", "missing"},
      {"map a list", IndexText(R"({"weight_map":["a"]})"), kContent, kIndex, "key 'weight_map'",
       "[\"a\"], expected"},
      {"map null", IndexText(R"({"weight_map":null})"), kContent, kIndex, "key 'weight_map'",
       "null, expected"},
      {"empty map", IndexText(R"({"weight_map":{}})"), kContent, kIndex, "key 'weight_map'",
       "an empty object"},
      {"map twice", IndexText(R"({"weight_map":{"a":"b"},"weight_map":{"a":"b"}})"), kContent, kIndex,
       "key 'weight_map'", "is there twice"},
      {"nesting of 100,000", IndexText(R"({"x":)" + nested), kContent, kIndex, "byte 69",
       "nested deeper than 64"},
      {"nesting of 100,000 in the map", IndexText(R"({"weight_map":{"a":)" + nested), kContent, kIndex,
       "key 'weight_map': tensor 'a'", "expected a file name"},
      {"tensor twice", ReplaceInIndex("\"model.norm.weight\"", "\"lm_head.weight\""), kContent, kIndex,
       "key 'weight_map': tensor 'lm_head.weight'", "is there twice"},
      {"file name a number", MapNormTo(3), kContent, kIndex, "key 'weight_map': tensor 'model.layers.0.input",
       "3, expected a file name"},
      {"file name null", MapNormTo(nullptr), kContent, kIndex, "key 'weight_map': tensor", "null, expected"},
      {"file name empty", MapNormTo(""), kContent, kIndex, "key 'weight_map': tensor", "file name \"\""},
      {"file name in a folder", MapNormTo("sub/x.safetensors"), kContent, kIndex, "key 'weight_map': tensor",
       "file name \"sub/x.safetensors\""},
      {"file name above", MapNormTo("../x.safetensors"), kContent, kIndex, "key 'weight_map': tensor",
       "file name \"../x.safetensors\""},
      {"file name of dots", MapNormTo(".."), kContent, kIndex, "key 'weight_map': tensor",
       "file name \"..\""},
      {"file name absolute", MapNormTo("/etc/passwd"), kContent, kIndex, "key 'weight_map': tensor",
       "\"/etc/passwd\""},
      {"file name with a backslash", MapNormTo("..\\x"), kContent, kIndex, "key 'weight_map': tensor",
       "file name"},
      {"file name with a drive", MapNormTo("c:x"), kContent, kIndex, "key 'weight_map': tensor",
       "file name \"c:x\""},
      {"file name with a NUL", ReplaceInIndex("model-00003-of", "model\\u0000-of"), kContent, kIndex,
       "key 'weight_map': tensor", "model\\x00-of"},
      {"file name of 5000 characters", MapNormTo(std::string(5000, 'x')), kContent, kIndex,
       "key 'weight_map': tensor", "expected the plain name"},
      {"tensor mapped to a wrong shard", MapNormTo(kShard4), kContent, kIndex,
       "tensor 'model.layers.0.input_layernorm.weight'", "model-00003-of-00006.safetensors has it"},
      {"tensor stored nowhere", EditIndex([](Json& index) { index["weight_map"]["ghost"] = kShard4; }),
       kContent, kIndex, "tensor 'ghost'",
       "mapped to \"model-00004-of-00006.safetensors\", which does not hold it; no shard has it"},
      {"tensor in two shards with other values", SecondCopy(1.5f), kContent, kIndex,
       "tensor 'model.layers.0.input_layernorm.weight'", "hold it with other values"},
  };
}

auto Link(std::string name, std::string target) {
  return [name, target](const TestFolder& folder) {
    fs::remove(folder.File(name));
    fs::create_symlink(target, folder.File(name));
  };
}

std::vector<Bad> Folders() {
  constexpr ErrorKind kContent = ErrorKind::kContent, kMissing = ErrorKind::kMissing;
  return {
      {"shard missing", [](const TestFolder& f) { fs::remove(f.File(kShard3)); }, kMissing, kShard3,
       "no such file", "maps tensor 'model.layers.0.input_layernorm.weight' to it"},
      {"shard empty", [](const TestFolder& f) { f.Write(kShard3, ""); }, kContent, kShard3, "byte 0",
       "0 bytes"},
      {"shard cut",
       [](const TestFolder& f) {
         const std::string bytes = ReadFile(f.File(kShard3));
         f.Write(kShard3, std::string_view(bytes).substr(0, bytes.size() - 1));
       },
       kContent, kShard3, "tensor '", "go past the end"},
      {"shards swapped",
       [](const TestFolder& f) {
         fs::rename(f.File(kShard3), f.File("x"));
         fs::rename(f.File(kShard4), f.File(kShard3));
         fs::rename(f.File("x"), f.File(kShard4));
       },
       kContent, kIndex, "tensor 'model.layers.0.input_layernorm.weight'",
       "mapped to \"model-00003-of-00006.safetensors\", which does not hold it"},
      {"shard a folder",
       [](const TestFolder& f) {
         fs::remove(f.File(kShard3));
         fs::create_directory(f.File(kShard3));
       },
       kMissing, kShard3, "is a folder", "expected a file"},
      {"shard a link out of the folder", Link(kShard3, kSharded + "/" + kShard3), kContent, kIndex,
       "tensor 'model.layers.0.input_layernorm.weight'", "is a link to"},
      {"shard a dangling link", Link(kShard3, "nowhere"), kMissing, kShard3, "cannot open", "No such file"},
      {"shard a loop of links", Link(kShard3, kShard3), kMissing, kShard3, "cannot open", "symbolic links"},
      {"single file a dangling link", Link("model.safetensors", "nowhere"), kMissing, "model.safetensors",
       "cannot open", "No such file"},
      {"index a folder",
       [](const TestFolder& f) {
         fs::remove(f.File(kIndex));
         fs::create_directory(f.File(kIndex));
       },
       kMissing, kIndex, "is a folder", "expected a file"},
      {"neither file nor index", [](const TestFolder& f) { fs::remove(f.File(kIndex)); }, kMissing, "",
       "no model.safetensors and no model.safetensors.index.json", "expected a checkpoint"},
  };
}

class BadCheckpoint : public ::testing::TestWithParam<Bad> {};

TEST_P(BadCheckpoint, IsRefusedWithFileAndPlace) {
  const TestFolder folder;
  folder.CopyFrom(kSharded);
  GetParam().damage(folder);
  try {
    Checkpoint{folder.path()};
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    const std::string file = *GetParam().file == '\0' ? folder.path() : folder.File(GetParam().file);
    EXPECT_EQ(e.kind(), GetParam().kind);
    EXPECT_THAT(e.what(), ::testing::StartsWith(file + ": " + GetParam().place));
    EXPECT_THAT(e.what(), HasSubstr(GetParam().message));
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << "more than one line";
  }
}

std::string TestName(const ::testing::TestParamInfo<Bad>& info) {
  std::string name = info.param.name;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(Indices, BadCheckpoint, ::testing::ValuesIn(Indices()), TestName);
INSTANTIATE_TEST_SUITE_P(Folders, BadCheckpoint, ::testing::ValuesIn(Folders()), TestName);

TEST(GoodCheckpoint, UnusualButValidFoldersAreAccepted) {
  const std::vector<std::pair<const char*, std::function<void(const TestFolder&)>>> controls = {
      {"as it is", [](const TestFolder&) {}},
      {"total_size a float", ReplaceInIndex("304000", "304000.0")},
      {"no metadata", EditIndex([](Json& index) { index.erase("metadata"); })},
      {"metadata null", EditIndex([](Json& index) { index["metadata"] = nullptr; })},
      {"other keys", EditIndex([](Json& index) {
         index["other"] = {{"a", {1, 2, {{"b", nullptr}}}}};
       })},
      {"a link inside the folder",
       [](const TestFolder& f) {
         fs::rename(f.File(kShard3), f.File("real.safetensors"));
         Link(kShard3, "real.safetensors")(f);
       }},
  };
  for (const auto& [name, change] : controls) {
    SCOPED_TRACE(name);
    const TestFolder folder;
    folder.CopyFrom(kSharded);
    change(folder);
    EXPECT_EQ(Checkpoint(folder.path()).Names().size(), 25u);
  }
}

TEST(GoodCheckpoint, TensorInTwoShardsWithEqualValuesIsAccepted) {
  const TestFolder folder;
  const std::vector<float> ones(4, 1.0f);
  const TensorView view{DType::kF32, {4}, std::as_bytes(std::span(ones))};
  const std::vector<NamedTensor> both = {{"a", view}, {"b", view}}, one = {{"a", view}};
  WriteSafetensors(folder.File("1.safetensors"), both);
  WriteSafetensors(folder.File("2.safetensors"), one);
  folder.Write(kIndex, R"({"weight_map":{"a":"2.safetensors","b":"1.safetensors"}})");
  EXPECT_EQ(Checkpoint(folder.path()).FileOf("a").path(), folder.File("2.safetensors"));
}

TEST(BadCheckpointFolder, ThatIsMissingOrAFileIsNamed) {
  const TestFolder folder;
  for (const std::string& path : {folder.File("absent"), folder.Write("file", "x")}) {
    try {
      Checkpoint{path};
      ADD_FAILURE();
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kMissing);
      EXPECT_THAT(e.what(), ::testing::StartsWith(path + ": "));
    }
  }
}

TEST(BadCheckpointFolder, WithOtherFormatsSaysWhichFileIsNotRead) {
  const TestFolder folder;
  folder.Write("pytorch_model.bin", "x");
  try {
    Checkpoint{folder.path()};
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("lowbit does not read pytorch_model.bin"));
  }
}

}  // namespace
}  // namespace lowbit
