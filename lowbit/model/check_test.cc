// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "lowbit/base/json.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/model/config.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;

const std::string kModels = LOWBIT_TESTDATA "/models/";

struct OwnedTensor {
  DType type;
  Shape shape;
  std::vector<std::byte> bytes;
};

// A checkpoint in memory, to be changed and written.
struct Model {
  std::map<std::string, OwnedTensor> tensors;
  Json config;

  void Write(const TestFolder& folder) const {
    std::vector<NamedTensor> views;
    for (const auto& [name, t] : tensors) views.push_back({name, {t.type, t.shape, t.bytes}});
    WriteSafetensors(folder.File("model.safetensors"), views);
    folder.Write("config.json", config.dump());
  }
  void Rename(const std::string& from, const std::string& to) {
    tensors[to] = tensors.at(from);
    tensors.erase(from);
  }
  void SetType(const std::string& name, DType type) {
    OwnedTensor& t = tensors.at(name);
    t.type = type;
    t.bytes.assign(ElementCount(t.shape) * SizeOf(type), std::byte{0});
  }
  void SetShape(const std::string& name, Shape shape) {
    OwnedTensor& t = tensors.at(name);
    t.shape = std::move(shape);
    t.bytes.resize(ElementCount(t.shape) * SizeOf(t.type));
  }
  void Add(const std::string& name, Shape shape) {
    tensors[name] = {DType::kF32, shape, std::vector<std::byte>(ElementCount(shape) * 4)};
  }
};

Model Load(const std::string& name) {
  Model model;
  model.config = ReadJsonFile(kModels + name + "/config.json");
  const Checkpoint checkpoint(kModels + name);
  for (const std::string& tensor : checkpoint.Names()) {
    const TensorView view = checkpoint.Get(tensor);
    model.tensors[tensor] = {view.type, view.shape, {view.bytes.begin(), view.bytes.end()}};
  }
  return model;
}

void Check(const Model& model) {
  const TestFolder folder;
  model.Write(folder);
  CheckTensors(Checkpoint(folder.path()), LoadConfig(folder.path()));
}

std::string WarningsOf(const Model& model) {
  ::testing::internal::CaptureStderr();
  Check(model);
  return ::testing::internal::GetCapturedStderr();
}

constexpr const char* kQwen = "tiny-qwen3";    // tied
constexpr const char* kLlama = "tiny-llama3";  // not tied
constexpr const char* kQ0 = "model.layers.0.self_attn.q_proj.weight";

struct Bad {
  std::string name;
  std::string model;
  std::function<void(Model&)> damage;
  std::string tensor;   // the place
  std::string message;  // part of the message: the key of config.json, among others

  friend void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }
};

auto Set(const std::string& key, Json value) {
  return [key, value](Model& m) { m.config[key] = value; };
}
auto Drop(const std::string& tensor) {
  return [tensor](Model& m) { m.tensors.erase(tensor); };
}

std::vector<Bad> Rows() {
  const std::string embedding = "model.embed_tokens.weight", down = "model.layers.1.mlp.down_proj.weight";
  return {
      {"tensor missing", kQwen, Drop(down), down,
       "missing, expected [64, 128] for model_type 'qwen3' ([hidden_size, inter"},
      {"tensor renamed", kQwen, [=](Model& m) { m.Rename(down, down + "s"); }, down, "missing"},
      {"name with a NUL", kQwen, [=](Model& m) { m.Rename(down, down + std::string(1, '\0')); }, down,
       "missing"},
      {"norm missing", kQwen, Drop("model.norm.weight"), "model.norm.weight", "missing, expected [64]"},
      {"embedding missing", kQwen, Drop(embedding), embedding, "[vocab_size, hidden_size] of config.json"},
      {"q_norm of an older family", kQwen, Drop("model.layers.0.self_attn.q_norm.weight"),
       "model.layers.0.self_attn.q_norm.weight", "missing, expected [32] for model_type 'qwen3' ([head_dim]"},
      {"head missing though not tied", kLlama, Drop("lm_head.weight"), "lm_head.weight",
       "where tie_word_embeddings is false"},
      {"tied flag cleared", kQwen, Set("tie_word_embeddings", false), "lm_head.weight",
       "where tie_word_embeddings is false"},
      {"transposed", kQwen,
       [=](Model& m) {
         m.SetShape(down, {128, 64});
       },
       down, "shape [128, 64], expected [64, 128] ([hidden_size, intermediate_size] of config.json)"},
      {"flat", kQwen, [=](Model& m) { m.SetShape(down, {64 * 128}); }, down,
       "shape [8192], expected [64, 128]"},
      {"one row short", kQwen,
       [=](Model& m) {
         m.SetShape(down, {63, 128});
       },
       down, "shape [63, 128], expected"},
      {"shape of zero", kQwen, [=](Model& m) { m.SetShape(down, {0}); }, down, "shape [0], expected"},
      {"zero rows", kQwen,
       [=](Model& m) {
         m.SetShape(down, {0, 128});
       },
       down, "shape [0, 128], expected"},
      {"scalar", kQwen, [=](Model& m) { m.SetShape(down, {}); }, down, "shape [], expected"},
      {"norm as a matrix", kQwen,
       [=](Model& m) {
         m.SetShape("model.norm.weight", {1, 64});
       },
       "model.norm.weight", "shape [1, 64], expected [64]"},
      {"integer weight", kQwen, [=](Model& m) { m.SetType(down, DType::kI32); }, down, "dtype I32, expected"},
      {"packed weight", kQwen, [=](Model& m) { m.SetType(down, DType::kU8); }, down, "dtype U8, expected"},
      {"GPTQ weight", kQwen,
       [=](Model& m) {
         m.Rename(down, "model.layers.1.mlp.down_proj.qweight");
         m.Add("model.layers.1.mlp.down_proj.scales", {4});
       },
       down, "'model.layers.1.mlp.down_proj.qweight' is there: the weights may be quantized"},
      {"scale beside a weight", kQwen,
       [=](Model& m) { m.Add("model.layers.1.mlp.down_proj.weight_scale", {1}); },
       "model.layers.1.mlp.down_proj.weight_scale", "not expected by config.json"},
      {"head_dim other than the weights", kLlama, Set("head_dim", 32), kQ0,
       "shape [64, 64], expected [128, 64] ([num_attention_heads × head_dim, hidden_size] of config.json)"},
      {"heads other than the weights", kQwen, Set("num_attention_heads", 8), kQ0,
       "shape [128, 64], expected [256, 64]"},
      {"key heads other than the weights", kQwen, Set("num_key_value_heads", 1),
       "model.layers.0.self_attn.k_proj.weight", "num_key_value_heads × head_dim"},
      {"hidden_size other than the weights", kQwen, Set("hidden_size", 128), embedding,
       "expected [512, 128]"},
      {"intermediate_size other than the weights", kQwen, Set("intermediate_size", 96),
       "model.layers.0.mlp.gate_proj.weight", "[intermediate_size, hidden_size] of config.json"},
      {"vocab_size one more", kQwen, Set("vocab_size", 513), embedding,
       "shape [512, 64], expected [513, 64]"},
      {"vocab_size one less", kQwen, Set("vocab_size", 511), embedding,
       "shape [512, 64], expected [511, 64]"},
      {"fewer layers stored", kQwen, Set("num_hidden_layers", 3), "model.layers.2.input_layernorm.weight",
       "2 layers are stored, expected 3 (num_hidden_layers of config.json)"},
      {"more layers stored", kQwen, Set("num_hidden_layers", 1), "model.layers.1.",
       "2 layers are stored, expected 1 (num_hidden_layers of config.json)"},
      {"attention_bias without biases", kQwen, Set("attention_bias", true),
       "model.layers.0.self_attn.q_proj.bias", "missing, expected [128]"},
      {"mlp_bias without biases", kLlama, Set("mlp_bias", true), "model.layers.0.mlp.gate_proj.bias",
       "where mlp_bias is true"},
      {"biases without attention_bias", kQwen,
       [](Model& m) { m.Add("model.layers.1.self_attn.k_proj.bias", {64}); },
       "model.layers.1.self_attn.k_proj.bias", "where attention_bias is false"},
      {"biases without mlp_bias", kLlama, [](Model& m) { m.Add("model.layers.1.mlp.up_proj.bias", {128}); },
       "model.layers.1.mlp.up_proj.bias", "where mlp_bias is false"},
      {"norm that the family does not have", kLlama,
       [](Model& m) { m.Add("model.layers.0.self_attn.q_norm.weight", {16}); },
       "model.layers.0.self_attn.q_norm.weight",
       "a norm that model_type 'llama' of config.json does not have"},
  };
}

class BadModel : public ::testing::TestWithParam<Bad> {};

TEST_P(BadModel, IsRefusedWithTensorAndKey) {
  Model model = Load(GetParam().model);
  GetParam().damage(model);
  try {
    Check(model);
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    EXPECT_THAT(e.what(), HasSubstr("model.safetensors: tensor '" + GetParam().tensor));
    EXPECT_THAT(e.what(), HasSubstr(GetParam().message));
  }
}

std::string TestName(const ::testing::TestParamInfo<Bad>& info) {
  std::string name = info.param.name;
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}
INSTANTIATE_TEST_SUITE_P(Rows, BadModel, ::testing::ValuesIn(Rows()), TestName);

TEST(CheckTensors, AcceptsTheTinyModelsWithoutAWarning) {
  for (const std::string name : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-bf16-sharded"}) {
    EXPECT_EQ(WarningsOf(Load(name)), "") << name;
  }
}

TEST(CheckTensors, NeededTensorThatTheIndexDoesNotListIsMissingAndSaysWhereItIs) {
  const TestFolder folder;
  folder.CopyFrom(kModels + "tiny-qwen3-bf16-sharded");
  Json index = ReadJsonFile(folder.File("model.safetensors.index.json"));
  index["weight_map"].erase("model.norm.weight");
  folder.Write("model.safetensors.index.json", index.dump());
  try {
    CheckTensors(Checkpoint(folder.path()), LoadConfig(folder.path()));
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("index.json: tensor 'model.norm.weight': missing, expected [64]"));
    EXPECT_THAT(e.what(), HasSubstr("a shard holds it, but the index does not list it"));
  }
}

TEST(CheckTensors, HeadStoredOnceMoreInATiedModelIsPassedOver) {
  Model model = Load(kQwen);
  model.tensors["lm_head.weight"] = model.tensors.at("model.embed_tokens.weight");
  EXPECT_EQ(WarningsOf(model), "");
}

TEST(CheckTensors, AnotherHeadInATiedModelIsNotUsedAndSaidSo) {
  Model model = Load(kQwen);
  model.tensors["lm_head.weight"] = model.tensors.at("model.embed_tokens.weight");
  model.tensors["lm_head.weight"].bytes[77] ^= std::byte{1};
  EXPECT_NE(WarningsOf(model).find("'lm_head.weight' differs from the embedding and is not used"),
            std::string::npos);
}

TEST(CheckTensors, RotaryTablesOfOldFilesArePassedOver) {
  Model model = Load(kLlama);
  model.Add("model.layers.0.self_attn.rotary_emb.inv_freq", {8});
  EXPECT_EQ(WarningsOf(model), "");
}

TEST(CheckTensors, OtherUnusedTensorsAreOneWarningWithTheirNumber) {
  Model model = Load(kQwen);
  model.Add("vision.patch.weight", {3});
  model.Add("extra", {3});
  EXPECT_THAT(WarningsOf(model),
              HasSubstr("2 tensors are not used by model_type 'qwen3', the first is 'extra'"));
}

TEST(CheckTensors, MixedFloatingTypesAreAccepted) {
  Model model = Load(kQwen);
  model.SetType("model.norm.weight", DType::kBF16);
  model.SetType(kQ0, DType::kF16);
  EXPECT_NO_THROW(Check(model));
}

TEST(CheckTensors, BiasesThatTheConfigPromisesAreAccepted) {
  Model model = Load(kLlama);
  model.config["attention_bias"] = model.config["mlp_bias"] = true;
  for (const std::string layer : {"model.layers.0.", "model.layers.1."}) {
    for (const auto& [name, size] : std::map<std::string, size_t>{{"self_attn.q_proj", 64},
                                                                  {"self_attn.k_proj", 32},
                                                                  {"self_attn.v_proj", 32},
                                                                  {"self_attn.o_proj", 64},
                                                                  {"mlp.gate_proj", 128},
                                                                  {"mlp.up_proj", 128},
                                                                  {"mlp.down_proj", 64}}) {
      model.Add(layer + name + ".bias", {size});
    }
  }
  EXPECT_EQ(WarningsOf(model), "");
}

}  // namespace
}  // namespace lowbit
