// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/layout.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "lowbit/checkpoint/checkpoint.h"

namespace lowbit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

const std::string kModels = LOWBIT_TESTDATA "/models/";

ModelConfig Small(std::string_view model_type) {
  ModelConfig c;
  c.model_type = model_type;
  c.vocab_size = 100;
  c.hidden_size = 24;
  c.intermediate_size = 40;
  c.num_hidden_layers = 3;
  c.num_attention_heads = 6;
  c.num_key_value_heads = 2;
  c.num_experts = model_type == "qwen3_moe" ? 3 : 0;
  c.num_experts_per_tok = 2;
  c.moe_intermediate_size = 12;
  c.head_dim = 8;  // 6 * 8 is not 24: sizes must come from head_dim
  return c;
}

TEST(Families, EveryRowIsFoundByItsModelType) {
  ASSERT_GE(Families().size(), 2u);
  for (const Family& family : Families()) {
    EXPECT_EQ(FindFamily(family.model_type), &family);
    EXPECT_FALSE(family.description.empty());
  }
  EXPECT_EQ(FindFamily("gpt2"), nullptr);
  EXPECT_EQ(FindFamily(""), nullptr);
}

TEST(Layout, EveryLinearIsReadByExactlyOneStageOfItsInputSize) {
  for (const Family& family : Families()) {
    const LayerLayout layer = family.layer(Small(family.model_type), 0);
    std::multiset<std::string> read;
    for (const Stage& stage : layer.stages) {
      ASSERT_FALSE(stage.readers.empty());
      for (const std::string& reader : stage.readers) {
        read.insert(reader);
        EXPECT_EQ(layer.Linear(reader).in, layer.Linear(stage.readers[0]).in) << "one tap has one size";
      }
    }
    EXPECT_EQ(read.size(), layer.linears.size());
    for (const LinearSpec& linear : layer.linears) EXPECT_EQ(read.count(linear.name), 1u) << linear.name;
  }
}

TEST(Layout, EveryProducerIsANormOfTheReadersSizeOrALinear) {
  for (const Family& family : Families()) {
    const LayerLayout layer = family.layer(Small(family.model_type), 0);
    for (const Stage& stage : layer.stages) {
      if (const NormSpec* norm = layer.FindNorm(stage.producer)) {
        EXPECT_EQ(norm->size, layer.Linear(stage.readers[0]).in) << stage.name;
      } else {
        EXPECT_FALSE(layer.Linear(stage.producer).name.empty()) << stage.name;
      }
    }
  }
}

TEST(Layout, DenseStagesAreInExecutionOrder) {
  const LayerLayout layer = FindFamily("qwen3")->layer(Small("qwen3"), 0);
  ASSERT_EQ(layer.stages.size(), 4u);
  EXPECT_EQ(layer.stages[0].name, "attn_in");
  EXPECT_THAT(layer.stages[0].readers,
              ElementsAre("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"));
  EXPECT_EQ(layer.stages[1].name, "attn_out");
  EXPECT_EQ(layer.stages[1].producer, "self_attn.v_proj");
  EXPECT_EQ(layer.stages[2].name, "mlp_in");
  EXPECT_EQ(layer.stages[2].producer, "post_attention_layernorm");
  EXPECT_EQ(layer.stages[3].name, "mlp_mid");
  EXPECT_EQ(layer.stages[3].producer, "mlp.up_proj");
}

TEST(Layout, SizesComeFromHeadDimAndNotFromHiddenOverHeads) {
  const LayerLayout layer = FindFamily("qwen3")->layer(Small("qwen3"), 0);
  EXPECT_EQ(layer.Linear("self_attn.q_proj").out, 48u);
  EXPECT_EQ(layer.Linear("self_attn.v_proj").out, 16u);
  EXPECT_EQ(layer.Linear("self_attn.o_proj").in, 48u);
  EXPECT_EQ(layer.Linear("self_attn.o_proj").out, 24u);
  EXPECT_EQ(layer.FindNorm("self_attn.q_norm")->size, 8u);
}

TEST(Layout, OnlyQwen3HasNormsOfQueryAndKey) {
  EXPECT_EQ(FindFamily("llama")->layer(Small("llama"), 0).FindNorm("self_attn.q_norm"), nullptr);
}

TEST(Layout, AttentionBiasIsOnAllFourProjectionsAndMlpBiasOnAllThree) {
  ModelConfig config = Small("llama");
  config.attention_bias = true;
  const auto biased = [](const ModelConfig& c) {
    std::string names;
    for (const LinearSpec& linear : FindFamily("llama")->layer(c, 0).linears)
      names += linear.bias ? "1" : "0";
    return names;  // q k v o gate up down
  };
  EXPECT_EQ(biased(config), "1111000");
  config.mlp_bias = true;
  EXPECT_EQ(biased(config), "1111111");
}

TEST(Layout, ExpertsReadWhatTheRouterReadsAndTheRouterIsNoLinear) {
  ModelConfig config = Small("qwen3_moe");
  const LayerLayout layer = FindFamily("qwen3_moe")->layer(config, 0);
  ASSERT_TRUE(layer.experts.has_value());
  EXPECT_EQ(layer.experts->router.name, "mlp.gate");
  EXPECT_EQ(layer.linears.size(), 4u + 3 * 3);
  const auto in = std::ranges::find(layer.stages, "mlp_in", &Stage::name);
  EXPECT_THAT(in->fixed_readers, ElementsAre("mlp.gate"));
  EXPECT_EQ(in->readers.size(), 6u);
  EXPECT_EQ(layer.stages.back().name, "mlp_mid.2");
  EXPECT_EQ(layer.stages.back().producer, "mlp.experts.2.up_proj");
  EXPECT_THAT(layer.stages.back().readers, ElementsAre("mlp.experts.2.down_proj"));
}

TEST(Layout, SomeLayersOfAMixtureStayDense) {
  ModelConfig config = Small("qwen3_moe");
  config.num_hidden_layers = 6;
  config.decoder_sparse_step = 2;
  config.mlp_only_layers = {3};
  std::string sparse;
  for (const LayerLayout& layer : LayoutOf(config).layers) sparse += layer.experts ? "1" : "0";
  EXPECT_EQ(sparse, "010001");
  EXPECT_EQ(FindFamily("qwen3_moe")->layer(config, 3).Linear("mlp.up_proj").out, 40u);
}

TEST(Layout, TiedHeadIsTheEmbedding) {
  ModelConfig config = Small("qwen3");
  config.tie_word_embeddings = true;
  EXPECT_EQ(LayoutOf(config).head, "model.embed_tokens.weight");
  config.tie_word_embeddings = false;
  EXPECT_EQ(LayoutOf(config).head, "lm_head.weight");
  EXPECT_EQ(LayoutOf(config).layers.size(), 3u);
}

TEST(ExpectedTensors, AreExactlyThoseOfTheTinyModels) {
  for (const std::string name : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-bf16-sharded", "tiny-qwen3-moe"}) {
    SCOPED_TRACE(name);
    const Checkpoint checkpoint(kModels + name);
    std::vector<std::string> expected;
    for (const ExpectedTensor& tensor : ExpectedTensors(LoadConfig(kModels + name))) {
      expected.push_back(tensor.name);
      EXPECT_EQ(checkpoint.Get(tensor.name).shape, tensor.shape) << tensor.name;
      EXPECT_THAT(tensor.why, HasSubstr("config.json"));
    }
    std::ranges::sort(expected);
    EXPECT_EQ(expected, checkpoint.Names());
  }
}

TEST(ExpectedTensors, BiasesAreExpectedOnceTheConfigPromisesThem) {
  ModelConfig config = Small("llama");
  const size_t plain = ExpectedTensors(config).size();
  config.attention_bias = true;
  EXPECT_EQ(ExpectedTensors(config).size(), plain + 3 * 4);
  config.mlp_bias = true;
  EXPECT_EQ(ExpectedTensors(config).size(), plain + 3 * 7);
}

}  // namespace
}  // namespace lowbit
