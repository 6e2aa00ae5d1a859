// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "lowbit/base/test_folder.h"
#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/cli/commands.h"
#include "lowbit/cli/inspection.h"
#include "lowbit/quant/layer_stream.h"

namespace lowbit {
namespace {
namespace fs = std::filesystem;

using ::testing::HasSubstr;

const std::string kModels = LOWBIT_TESTDATA "/models/";

QuantizeResult Quantize(const std::string& model, const std::string& recipe, const std::string& out) {
  const Threads one(1);
  const auto backend = MakeBackend("cpu", "f32", one);
  const std::vector<QuantizeCell> cells = {{ParseRecipe(recipe), out}};
  return QuantizeFolder(model, cells, *backend)[0];
}

TEST(Inspect, FactsOfATinyModelAreItsOwn) {
  const Inspection in = Inspect(kModels + "tiny-qwen3-bf16-sharded");
  EXPECT_EQ(in.architecture, "Qwen3ForCausalLM");
  EXPECT_EQ(in.files, 6u);
  EXPECT_EQ(in.tensors.size(), 25u);
  EXPECT_EQ(in.tensor_bytes, 304000u);
  EXPECT_EQ(in.sizes.Parameters(), 152000u);
  // 2 layers of q 128 × 64, k and v 64 × 64, o 64 × 128, three of the MLP 96 × 64.
  EXPECT_EQ(in.sizes.linears, 2u * (128 * 64 + 2 * 64 * 64 + 64 * 128 + 3 * 96 * 64));
  EXPECT_EQ(in.sizes.head, 512u * 64);
  EXPECT_FALSE(in.artefact.has_value());
}

TEST(Inspect, TensorsAreListedInTheOrderOfTheModel) {
  const Inspection in = Inspect(kModels + "tiny-qwen3-bf16-sharded");
  EXPECT_EQ(in.tensors.front().name, "model.embed_tokens.weight");
  EXPECT_EQ(in.tensors.back().name, "lm_head.weight");
  EXPECT_EQ(in.tensors.back().type, "BF16");
  EXPECT_EQ(in.tensors.back().shape, "[512, 64]");
  EXPECT_EQ(in.tensors.back().bytes, 65536u);
  EXPECT_EQ(in.tensors.back().file, "model-00005-of-00006.safetensors");
}

TEST(Inspect, MemoryFollowsTheFormulasOfTheHelp) {
  const Inspection in = Inspect(kModels + "tiny-qwen3");
  const uint64_t activations = 4 * 512 * (3 * 64 + 2 * 4 * 32 + 2 * 2 * 32 + 2 * 128);
  EXPECT_EQ(in.memory.window, 512u) << "the model's context is shorter than the usual window";
  EXPECT_EQ(in.memory.all_layers_f32, 4 * in.sizes.Parameters() + activations);
  EXPECT_EQ(in.memory.one_layer_bf16, 2 * in.sizes.linears / 2 + activations);
}

TEST(Inspect, ArtefactEstimateIsTheSizeOfTheArtefactThatIsMade) {
  const TestFolder folder;
  const std::string model = kModels + "tiny-qwen3", out = folder.File("q");
  const Inspection in = Inspect(model);
  for (const ArtefactEstimate& estimate : in.artefacts) {
    SCOPED_TRACE(estimate.recipe);
    fs::remove_all(out);
    const QuantizeResult made = Quantize(model, estimate.recipe, out);
    EXPECT_DOUBLE_EQ(made.info.BitsPerQuantizedWeight(), estimate.bits_per_weight);
    uint64_t stored = 0;
    for (const auto& [name, file] : made.info.files) {
      const SafetensorsFile opened(out + "/" + name);
      for (const TensorEntry& entry : opened.header().tensors) stored += entry.end - entry.begin;
    }
    EXPECT_EQ(stored, estimate.bytes);
    EXPECT_EQ(estimate.model_bytes,
              estimate.bytes + in.tensor_bytes - 4 * in.sizes.linears);  // stored as f32
  }
}

TEST(Inspect, ArtefactIsShownWithItsBase) {
  const TestFolder folder;
  const std::string out = folder.File("q");
  Quantize(kModels + "tiny-llama3", "rtn-w4-g32", out);
  const Inspection in = Inspect(out);
  ASSERT_TRUE(in.artefact.has_value());
  EXPECT_EQ(in.architecture, "LlamaForCausalLM");
  EXPECT_THAT(ToText(in, false), ::testing::StartsWith("rtn-w4-g32 of "));
  EXPECT_EQ(ToJson(in, false).at("artefact").at("recipe"), "rtn-w4-g32");
}

TEST(Inspect, BitsOfCodesAreShownWhereTheyAreCounted) {
  Inspection in = Inspect(kModels + "tiny-qwen3");
  in.artefact.emplace();
  in.artefact->quantized_weights = 1000;
  EXPECT_TRUE(ToJson(in, false).at("artefact").at("code_bits_per_weight").is_null());
  EXPECT_EQ(ToText(in, false).find("bits of code"), std::string::npos);
  in.artefact->code_bits = 1094;
  EXPECT_EQ(ToJson(in, false).at("artefact").at("code_bits_per_weight"), 1.094);
  EXPECT_THAT(ToText(in, false), HasSubstr("planes       1.094 bits of code each, as papers count"));
}

TEST(Inspect, ShowsWhatLayersLoseTheWorstFirst) {
  const TestFolder folder;
  const std::string out = folder.File("q");
  const Threads one(1);
  const auto backend = MakeBackend("cpu", "f32", one);
  const CalibrationSpec text{.file = folder.Write("text.txt", std::string(400, 'a') + std::string(400, 'b')),
                             .samples = 2,
                             .length = 16};
  const std::vector<QuantizeCell> cells = {{ParseRecipe("rtn-w3-g32"), out},
                                           {ParseRecipe("rtn-w8a3-g32"), folder.File("inputs")}};
  QuantizeFolder(LOWBIT_SOURCE_DIR "/data/demo-qwen3", cells, *backend, &text);
  const Inspection in = Inspect(out);
  const Json losses = ToJson(in, false).at("artefact").at("output_errors");
  ASSERT_EQ(losses.size(), 4u * 8);
  double before = losses[0].at("relative_error");
  for (const Json& loss : losses) {
    EXPECT_LE(loss.at("relative_error").get<double>(), before);
    before = loss.at("relative_error");
  }
  const std::string shown = ToText(in, false);
  EXPECT_THAT(shown, HasSubstr("output error"));
  EXPECT_THAT(shown, HasSubstr("worst"));
  EXPECT_THAT(shown, HasSubstr("layer-0000"));
  EXPECT_EQ(shown.find("|x|"), std::string::npos);

  const Inspection rounded = Inspect(folder.File("inputs"));
  EXPECT_THAT(ToText(rounded, false),
              ::testing::ContainsRegex("_proj inputs, \\|x\\| up to [0-9.]+, peak [0-9.]+\n"));
  const Json of_inputs = ToJson(rounded, false).at("artefact").at("output_errors");
  for (const Json& loss : of_inputs)
    EXPECT_EQ(loss.contains("peak"), loss.at("part").get<std::string>().ends_with(" inputs"));

  fs::remove_all(out);
  Quantize(LOWBIT_SOURCE_DIR "/data/demo-qwen3", "rtn-w3-g32", out);
  EXPECT_THAT(ToText(Inspect(out), false), ::testing::Not(HasSubstr("output error")))
      << "nothing was measured";
}

TEST(Inspect, TextNamesTheFactsAndListsTensorsOnRequest) {
  const Inspection in = Inspect(kModels + "tiny-llama3");
  const std::string text = ToText(in, false);
  for (const char* fact :
       {"LlamaForCausalLM", "2 of hidden size 64, gated MLP of 128", "4 heads of 16, 2 of keys and values",
        "512, head of its own", "theta 500000, llama3 scaling by 8 beyond 64 positions", "eps 1e-05",
        "rtn-w4-g128", "one layer at a time"}) {
    EXPECT_THAT(text, HasSubstr(fact));
  }
  EXPECT_THAT(text, ::testing::Not(HasSubstr("model.norm.weight")));
  EXPECT_THAT(ToText(in, true), HasSubstr("model.norm.weight"));
}

TEST(Inspect, JsonHoldsTheSameNumbers) {
  const Inspection in = Inspect(kModels + "tiny-qwen3");
  const Json json = ToJson(in, true);
  EXPECT_EQ(json.at("parameters").at("total"), in.sizes.Parameters());
  EXPECT_EQ(json.at("config").at("head_dim"), 32);
  EXPECT_EQ(json.at("config").at("rope_scaling"), nullptr);
  EXPECT_EQ(json.at("kv_bytes_per_token"), 2u * 2 * 2 * 2 * 32);
  EXPECT_DOUBLE_EQ(json.at("gflop_per_token").get<double>() * 1e9,
                   2.0 * static_cast<double>(in.sizes.linears + in.sizes.embedding));
  EXPECT_EQ(json.at("tensors").at("list").size(), in.tensors.size());
  EXPECT_EQ(json.at("tensors").at("list").at(0).at("shape"), Json({512, 64}));
  EXPECT_EQ(json.at("tensors").at("types").at("F32").at("tensors"), in.tensors.size());
  EXPECT_FALSE(ToJson(in, false).at("tensors").contains("list"));
}

TEST(InspectCommand, PrintsToStdoutAndTakesAFolder) {
  CLI::App app;
  AddInspectCommand(app);
  ::testing::internal::CaptureStdout();
  app.parse("inspect " + kModels + "tiny-qwen3 --json");
  const Json json = Json::parse(::testing::internal::GetCapturedStdout());
  EXPECT_EQ(json.at("architecture"), "Qwen3ForCausalLM");
  EXPECT_THROW(app.parse("inspect"), CLI::RequiredError);
}

TEST(InspectCommand, WhatDoesNotFitTogetherIsRefused) {
  const TestFolder folder;
  folder.CopyFrom(kModels + "tiny-qwen3");
  std::string config = ReadFile(folder.File("config.json"));
  config.replace(config.find("\"num_hidden_layers\": 2"), 22, "\"num_hidden_layers\": 1");
  folder.Write("config.json", config);
  try {
    Inspect(folder.path());
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    EXPECT_THAT(e.what(), HasSubstr("2 layers are stored, expected 1"));
  }
}

}  // namespace
}  // namespace lowbit
