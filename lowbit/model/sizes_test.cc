// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/sizes.h"

#include <gtest/gtest.h>

#include "lowbit/checkpoint/checkpoint.h"

namespace lowbit {
namespace {

struct Published {
  const char* name;
  const char* model_type;
  size_t layers, hidden, inner, heads, kv_heads, head_dim, vocabulary;
  bool tied;
  double parameters, gflop, attention_gflop;  // 10^9, 10^9 per token, 10^9 per token at 1024 positions
  size_t cache_kib;                           // per token
  size_t experts = 0, active = 0;             // then `inner` is the width of one

  friend void PrintTo(const Published& model, std::ostream* out) { *out << model.name; }
};

// Structure and sizes of published models (docs/models.md).
constexpr Published kPublished[] = {
    {"Qwen3-0.6B", "qwen3", 28, 1024, 3072, 16, 8, 128, 151936, true, 0.596, 1.19, 0.23, 112},
    {"Qwen3-1.7B", "qwen3", 28, 2048, 6144, 16, 8, 128, 151936, true, 1.721, 3.44, 0.23, 112},
    {"Qwen3-4B", "qwen3", 36, 2560, 9728, 32, 8, 128, 151936, true, 4.022, 8.04, 0.60, 144},
    {"Qwen3-8B", "qwen3", 36, 4096, 12288, 32, 8, 128, 151936, false, 8.191, 15.14, 0.60, 144},
    {"Qwen3-14B", "qwen3", 40, 5120, 17408, 40, 8, 128, 151936, false, 14.768, 27.98, 0.84, 160},
    {"Qwen3-32B", "qwen3", 64, 5120, 25600, 64, 8, 128, 151936, false, 32.762, 63.97, 2.15, 256},
    {"Qwen3-30B-A3B", "qwen3_moe", 48, 2048, 768, 32, 4, 128, 151936, false, 30.532, 6.08, 0.81, 96, 128, 8},
    {"Qwen3-235B-A22B", "qwen3_moe", 94, 4096, 1536, 64, 4, 128, 151936, false, 235.1, 43.1, 3.15, 188, 128,
     8},
    {"Llama-3.2-1B", "llama", 16, 2048, 8192, 32, 8, 64, 128256, true, 1.236, 2.47, 0.13, 32},
    {"Llama-3.2-3B", "llama", 28, 3072, 8192, 24, 8, 128, 128256, true, 3.213, 6.43, 0.35, 112},
    {"Llama-3.1-8B", "llama", 32, 4096, 14336, 32, 8, 128, 128256, false, 8.030, 15.01, 0.54, 128},
    {"Llama-3.1-70B", "llama", 80, 8192, 28672, 64, 8, 128, 128256, false, 70.55, 139.0, 2.68, 320},
    {"Llama-3.1-405B", "llama", 126, 16384, 53248, 128, 8, 128, 128256, false, 405.9, 807.5, 8.46, 504},
    {"SmolLM2-135M", "llama", 30, 576, 1536, 9, 3, 64, 49152, true, 0.135, 0.27, 0.07, 22},
    {"SmolLM2-360M", "llama", 32, 960, 2560, 15, 5, 64, 49152, true, 0.362, 0.72, 0.13, 40},
    {"SmolLM2-1.7B", "llama", 24, 2048, 8192, 32, 32, 64, 49152, true, 1.711, 3.42, 0.20, 192},
};

ModelConfig ConfigOf(const Published& model) {
  ModelConfig c;
  c.model_type = model.model_type;
  c.num_hidden_layers = model.layers;
  c.hidden_size = model.hidden;
  c.intermediate_size = model.inner;
  c.num_attention_heads = model.heads;
  c.num_key_value_heads = model.kv_heads;
  c.head_dim = model.head_dim;
  c.vocab_size = model.vocabulary;
  c.tie_word_embeddings = model.tied;
  c.num_experts = model.experts;
  c.num_experts_per_tok = model.active;
  c.moe_intermediate_size = model.experts == 0 ? 0 : model.inner;
  return c;
}

class PublishedSizes : public ::testing::TestWithParam<Published> {};

TEST_P(PublishedSizes, AreReproducedFromTheConfig) {
  const Published& model = GetParam();
  const ModelConfig config = ConfigOf(model);
  // The published figures have three to five digits: half a unit of the last one.
  const auto last_digit = [](double value) { return value >= 100 ? 0.05 : value >= 50 ? 0.005 : 0.0005; };
  EXPECT_NEAR(static_cast<double>(SizesOf(config).Parameters()) / 1e9, model.parameters,
              last_digit(model.parameters) * 1.01);
  EXPECT_NEAR(FlopPerToken(config) / 1e9, model.gflop,
              model.gflop >= 100 || model.gflop == 43.1 ? 0.0501 : 0.00501);
  EXPECT_NEAR(AttentionFlopPerPosition(config) * 1024 / 1e9, model.attention_gflop, 0.00501);
  EXPECT_EQ(KeyValueBytesPerToken(config) / 1024, model.cache_kib);
}
INSTANTIATE_TEST_SUITE_P(Models, PublishedSizes, ::testing::ValuesIn(kPublished));

TEST(SizesOf, AgreeWithTheStoredTensorsOfTheTinyModels) {
  for (const std::string name : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-bf16-sharded", "tiny-qwen3-moe"}) {
    const Checkpoint checkpoint(LOWBIT_TESTDATA "/models/" + name);
    uint64_t stored = 0;
    for (const std::string& tensor : checkpoint.Names()) stored += checkpoint.Get(tensor).Count();
    EXPECT_EQ(SizesOf(LoadConfig(checkpoint.folder())).Parameters(), stored) << name;
  }
}

TEST(SizesOf, BiasesAreCounted) {
  ModelConfig config = ConfigOf(kPublished[10]);
  const uint64_t plain = SizesOf(config).others;
  config.attention_bias = config.mlp_bias = true;
  EXPECT_EQ(SizesOf(config).others - plain, 32u * (4096 + 1024 + 1024 + 4096 + 14336 + 14336 + 4096));
}

TEST(ActivationBytes, GrowWithTheTokens) {
  const ModelConfig config = ConfigOf(kPublished[0]);
  // 3 × 1024 + 2 × 2048 + 2 × 1024 + 2 × 3072 = 15,360 floats for each token.
  EXPECT_EQ(ActivationBytes(config, 1), 61440u);
  EXPECT_EQ(ActivationBytes(config, 2048), 2048u * 61440);
}

}  // namespace
}  // namespace lowbit
