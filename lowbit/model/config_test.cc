// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/files.h"
#include "lowbit/base/json.h"

namespace lowbit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kModels = LOWBIT_TESTDATA "/models/";

Json ReadModel(const std::string& name, const std::string& file = "config.json") {
  return ReadJsonFile(kModels + name + "/" + file);
}

ModelConfig Parse(const Json& config) {
  return ParseConfig(config.dump(), "config.json");
}

std::string WarningsOf(const Json& config) {
  ::testing::internal::CaptureStderr();
  Parse(config);
  return ::testing::internal::GetCapturedStderr();
}

TEST(Config, EveryFieldOfQwen3IsRead) {
  const ModelConfig c = LoadConfig(kModels + "tiny-qwen3");
  EXPECT_EQ(c.model_type, "qwen3");
  EXPECT_EQ(c.vocab_size, 512u);
  EXPECT_EQ(c.hidden_size, 64u);
  EXPECT_EQ(c.intermediate_size, 128u);
  EXPECT_EQ(c.num_hidden_layers, 2u);
  EXPECT_EQ(c.num_attention_heads, 4u);
  EXPECT_EQ(c.num_key_value_heads, 2u);
  EXPECT_EQ(c.head_dim, 32u);
  EXPECT_EQ(c.QuerySize(), 128u);
  EXPECT_EQ(c.KeyValueSize(), 64u);
  EXPECT_EQ(c.rms_norm_eps, 1e-6);
  EXPECT_EQ(c.rope_theta, 1e6);
  EXPECT_FALSE(c.rope_scaling.has_value());
  EXPECT_EQ(c.max_position_embeddings, 512u);
  EXPECT_FALSE(c.attention_bias);
  EXPECT_FALSE(c.mlp_bias);
  EXPECT_TRUE(c.tie_word_embeddings);
  EXPECT_EQ(c.bos_token_id, 0);
  EXPECT_THAT(c.eos_token_ids, ElementsAre(1));
  EXPECT_EQ(c.torch_dtype, "float32");
}

TEST(Config, LlamaRopeScalingIsRead) {
  const ModelConfig c = LoadConfig(kModels + "tiny-llama3");
  EXPECT_EQ(c.rms_norm_eps, 1e-5);
  EXPECT_EQ(c.rope_theta, 5e5);
  ASSERT_TRUE(c.rope_scaling.has_value());
  EXPECT_EQ(c.rope_scaling->factor, 8);
  EXPECT_EQ(c.rope_scaling->low_freq_factor, 1);
  EXPECT_EQ(c.rope_scaling->high_freq_factor, 4);
  EXPECT_EQ(c.rope_scaling->original_max_position_embeddings, 64u);
}

TEST(Config, BothStylesOfTheTinyModelsSayTheSame) {
  for (const std::string name : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-bf16-sharded"}) {
    SCOPED_TRACE(name);
    const ModelConfig a = Parse(ReadModel(name)), b = Parse(ReadModel(name, "config_v5.json"));
    EXPECT_EQ(a.model_type, b.model_type);
    EXPECT_EQ(a.vocab_size, b.vocab_size);
    EXPECT_EQ(a.num_hidden_layers, b.num_hidden_layers);
    EXPECT_EQ(a.num_key_value_heads, b.num_key_value_heads);
    EXPECT_EQ(a.head_dim, b.head_dim);  // tiny-llama3: derived in one style, given in the other
    EXPECT_EQ(a.rms_norm_eps, b.rms_norm_eps);
    EXPECT_EQ(a.rope_theta, b.rope_theta);
    EXPECT_EQ(a.rope_scaling, b.rope_scaling);
    EXPECT_EQ(a.tie_word_embeddings, b.tie_word_embeddings);
    EXPECT_EQ(a.torch_dtype, b.torch_dtype);
  }
}

TEST(Config, ModelsOfTheTinyFoldersGiveNoWarning) {
  for (const std::string name : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-bf16-sharded"}) {
    EXPECT_EQ(WarningsOf(ReadModel(name)), "");
    EXPECT_EQ(WarningsOf(ReadModel(name, "config_v5.json")), "");
  }
}

TEST(Config, LlamaDerivesHeadSizesWhereTheyAreAbsentOrNull) {
  for (const bool null : {false, true}) {
    Json config = ReadModel("tiny-llama3");
    config.erase("num_key_value_heads");
    config.erase("head_dim");
    if (null) config["num_key_value_heads"] = config["head_dim"] = nullptr;
    const ModelConfig c = Parse(config);
    EXPECT_EQ(c.num_key_value_heads, 4u);
    EXPECT_EQ(c.head_dim, 16u);
  }
}

TEST(Config, KeysThatChangeNothingAreAccepted) {
  Json config = ReadModel("tiny-qwen3");
  config["sliding_window"] = 4096;  // counts only where use_sliding_window is true
  config["logits_scaling"] = 1.0;
  config["partial_rotary_factor"] = 1;
  config["attn_logit_softcapping"] = nullptr;
  config["auto_map"] = nullptr;
  config["quantization_config"] = nullptr;
  config["rope_scaling"] = {{"rope_type", "default"}};
  config["num_experts"] = 0;
  config["id2label"] = {{"0", "LABEL_0"}};
  EXPECT_EQ(WarningsOf(config), "");
}

TEST(Config, KeyThatLowbitDoesNotKnowIsAWarningThatNamesIt) {
  Json config = ReadModel("tiny-qwen3");
  config["flux_capacitor"] = true;
  EXPECT_THAT(WarningsOf(config),
              HasSubstr("config.json: lowbit does not know and does not use: flux_capacitor"));
}

TEST(Config, SeveralEndTokensAndNoneAreRead) {
  Json config = ReadModel("tiny-qwen3");
  config["eos_token_id"] = {1, 511};
  EXPECT_THAT(Parse(config).eos_token_ids, ElementsAre(1, 511));
  config["eos_token_id"] = nullptr;
  config.erase("bos_token_id");
  EXPECT_THAT(Parse(config).eos_token_ids, ElementsAre());
  EXPECT_FALSE(Parse(config).bos_token_id.has_value());
}

TEST(Config, RopeScalingInTheOldSpellingIsRead) {
  Json config = ReadModel("tiny-llama3");
  config["rope_scaling"].erase("rope_type");
  config["rope_scaling"]["type"] = "llama3";
  EXPECT_TRUE(Parse(config).rope_scaling.has_value());
}

}  // namespace
}  // namespace lowbit
