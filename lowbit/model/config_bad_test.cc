// SPDX-License-Identifier: Apache-2.0
// config.json files that are refused, and what the refusal says: one row per defect.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "lowbit/base/json.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/model/config.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

const std::string kModels = LOWBIT_TESTDATA "/models/";

struct Bad {
  std::string name;
  std::string text;     // of config.json
  std::string place;    // what follows "config.json: "
  std::string message;  // part of the message

  friend void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }
};

// The text of a tiny model's config.json with `key` set to `value`, written as it is: also what no JSON
// library would write.
std::string With(const std::string& model, const std::string& key, const std::string& value) {
  Json config = ReadJsonFile(kModels + model + "/config.json");
  config[key] = "@@";
  std::string text = config.dump();
  return text.replace(text.find("\"@@\""), 4, value);
}

std::string Without(const std::string& model, const std::string& key) {
  Json config = ReadJsonFile(kModels + model + "/config.json");
  config.erase(key);
  return config.dump();
}

Bad Qwen(const std::string& key, const std::string& value, const std::string& message) {
  return {key + " " + value, With("tiny-qwen3", key, value), "key '" + key + "'", message};
}
Bad Llama(const std::string& key, const std::string& value, const std::string& message) {
  return {"llama " + key + " " + value, With("tiny-llama3", key, value), "key '" + key + "'", message};
}
Bad Missing(const std::string& model, const std::string& key,
            const std::string& message = "missing, expected") {
  return {model + " without " + key, Without(model, key), "key '" + key + "'", message};
}

// The whole text is wrong.
std::vector<Bad> Texts() {
  const std::string good = ReadFile(kModels + "tiny-qwen3/config.json");
  return {
      {"empty", "", "byte 0", "not valid JSON"},
      {"cut", good.substr(0, 40), "byte 4", "not valid JSON"},
      {"two objects", "{}{}", "byte 2", "not valid JSON"},
      {"a list", "[]", "a list", "expected an object"},
      {"null", "null", "null", "expected an object"},
      {"a string", "\"qwen3\"", "\"qwen3\"", "expected an object"},
      {"not UTF-8", "{\"a\": \"\xff\"}", "byte 7", "not valid UTF-8"},
      {"UTF-16", std::string("\xff\xfe{\0}\0", 6), "byte 0", "not valid UTF-8"},
      {"UTF-16 without mark", std::string("{\0}\0", 4), "byte 1", "not valid JSON"},
      {"nesting of 100,000", std::string(100'000, '['), "nested deeper than 32", "levels"},
      {"bare NaN", With("tiny-qwen3", "rms_norm_eps", "NaN"), "byte", "not valid JSON"},
      {"1e400", With("tiny-qwen3", "rope_theta", "1e400"), "byte", "out of range"},
      {"key twice", With("tiny-qwen3", "rope_theta", "1,\"rope_theta\":2"), "key 'rope_theta'",
       "there twice"},
      {"key twice in an object", With("tiny-qwen3", "x", R"({"a":1,"a":1})"), "key 'a'", "there twice"},
      {"2 MB", std::string(2'000'000, ' ') + "{}", "2000002 bytes", "expected at most 1048576"},
      {"trailing comma", "{\"a\":1,}", "byte", "not valid JSON"},
      {"comment", "{} // x", "byte", "not valid JSON"},
  };
}

// Sizes: what is no integer in the range, for every key of that kind.
std::vector<Bad> Sizes() {
  std::vector<Bad> rows;
  for (const std::string key :
       {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
        "num_key_value_heads", "head_dim", "max_position_embeddings"}) {
    rows.push_back(Missing("tiny-qwen3", key, "missing, expected an integer from 1 to"));
    rows.push_back(Qwen(key, "null", "null, expected an integer from 1 to"));
    for (const std::string value : {"0", "-4", "64.5", "64.0", "\"64\"", "true", "[64]", "{}", "2147483648",
                                    "4294967360", "4611686018427387904"}) {
      const std::string shown = value == "[64]" ? "a list" : value == "{}" ? "an object" : value;
      rows.push_back(Qwen(key, value, shown + ", expected an integer from 1 to"));
    }
    rows.push_back(Qwen(key, "1208925819614629174706176", "expected an integer from 1 to"));  // 2^80
  }
  return rows;
}

std::vector<Bad> Values() {
  return {
      Qwen("num_key_value_heads", "3", "3, expected a divisor of num_attention_heads, which is 4"),
      Qwen("num_key_value_heads", "8", "8, expected a divisor"),
      Qwen("head_dim", "31", "31, expected an even number"),
      {"hidden_size no multiple of heads", With("tiny-llama3", "hidden_size", "66"),
       "key 'num_attention_heads'", "4, expected a divisor of hidden_size, which is 66"},
      Llama("num_attention_heads", "5", "5, expected a divisor of hidden_size, which is 64"),
      Qwen("num_hidden_layers", "1000000000", "expected an integer from 1 to 4096"),
      Qwen("vocab_size", "1099511627776", "expected an integer from 1 to 16777216"),
      Missing("tiny-qwen3", "rms_norm_eps"),
      Qwen("rms_norm_eps", "0", "0, expected a number"),
      Qwen("rms_norm_eps", "-1e-6", "-1e-06, expected a number"),
      Qwen("rms_norm_eps", "\"1e-6\"", "\"1e-6\", expected a number"),
      Qwen("rms_norm_eps", "1", "1, expected a number"),
      Missing("tiny-qwen3", "tie_word_embeddings"),
      Qwen("tie_word_embeddings", "1", "1, expected true or false"),
      Qwen("attention_bias", "\"no\"", "\"no\", expected true or false"),
      Qwen("mlp_bias", "true", "true, but model_type 'qwen3' has no such bias"),
      Qwen("hidden_act", "\"gelu\"", "'gelu' is not supported, expected 'silu'"),
      Qwen("hidden_act", "7", "7, expected a string"),
      Qwen("model_type", "\"gpt2\"", "'gpt2' is not supported, expected 'qwen3' or 'qwen3_moe' or 'llama'"),
      Qwen("model_type", "3", "3, expected a string"),
      Qwen("model_type", R"("q\n\u0007")", "'q\\x0a\\x07' is not supported"),
      Missing("tiny-qwen3", "model_type"),
      Qwen("architectures", "[\"LlamaForCausalLM\"]", "'LlamaForCausalLM' disagrees with model_type 'qwen3'"),
      Qwen("architectures", "\"Qwen3ForCausalLM\"", "expected a list of one name"),
      Qwen("architectures", "[]", "expected a list of one name"),
      Qwen("bos_token_id", "512", "512, expected an id below vocab_size, which is 512"),
      Qwen("bos_token_id", "-1", "-1, expected an id"),
      Qwen("eos_token_id", "[0, 512]", "512, expected an id below vocab_size"),
      Qwen("eos_token_id", "\"1\"", "\"1\", expected an id"),
      Qwen("torch_dtype", "16", "16, expected a string"),
  };
}

std::vector<Bad> Unsupported() {
  return {
      Qwen("use_sliding_window", "true", "sliding window attention is not supported"),
      Qwen("layer_types", R"(["full_attention", "sliding_attention"])",
           "\"sliding_attention\" is not supported"),
      Qwen("layer_types", R"(["full_attention"])", "1 layers, expected num_hidden_layers, which is 2"),
      Qwen("layer_types", "\"full_attention\"", "expected a list"),
      Qwen("quantization_config", R"({"quant_method":"gptq"})", "quantized already"),
      Qwen("quantization_config", "{}", "quantized already"),
      Qwen("compression_config", "{}", "quantized already"),
      Qwen("auto_map", R"({"AutoModel":"x--y.Z"})", "asks to run code"),
      Qwen("trust_remote_code", "true", "asks to run code"),
      Qwen("custom_pipelines", "{}", "asks to run code"),
      Qwen("_attn_implementation", "\"someone/kernels\"", "asks to run code"),
      Qwen("logits_scaling", "8", "an extra scale"),
      Qwen("attention_multiplier", "0.5", "an extra scale"),
      Qwen("attn_logit_softcapping", "50.0", "a soft cap"),
      Qwen("partial_rotary_factor", "0.5", "a rotary embedding"),
      Qwen("rope_interleaved", "true", "a rotary embedding"),
      Qwen("num_experts", "8", "a mixture of experts"),
      Qwen("use_qk_norm", "true", "a normalisation"),
      Llama("pretraining_tp", "2", "a model structure"),
      Qwen("is_encoder_decoder", "true", "a model structure"),
      Qwen("text_config", "{}", "a model structure"),
  };
}

std::vector<Bad> Rope() {
  const std::string good = R"("factor":8,"low_freq_factor":1,"high_freq_factor":4,)"
                           R"("original_max_position_embeddings":64)";
  const auto scaling = [&](const std::string& name, const std::string& object, const std::string& key,
                           const std::string& message) {
    return Bad{"rope_scaling " + name, With("tiny-llama3", "rope_scaling", "{" + object + "}"),
               "key 'rope_scaling': key '" + key + "'", message};
  };
  const auto replaced = [&](std::string from, std::string to) {
    std::string text = "\"rope_type\":\"llama3\"," + good;
    return text.replace(text.find(from), from.size(), to);
  };
  return {
      Missing("tiny-qwen3", "rope_theta"),
      {"rope_theta of an old file", Without("tiny-qwen3", "rope_theta"), "key 'rope_theta'",
       "hint: LLaMA 1 and 2 mean"},
      Qwen("rope_theta", "null", "missing, expected"),
      Qwen("rope_theta", "0", "0, expected a number from 1"),
      Qwen("rope_theta", "-10000", "-10000, expected a number"),
      Qwen("rope_theta", "\"1e6\"", "\"1e6\", expected a number"),
      Qwen("rope_theta", "1e300", "expected a number"),
      Qwen("rope_scaling", "8", "8, expected an object"),
      Qwen("rope_parameters", R"({"rope_type":"default","rope_theta":5})", "5, but 1000000 in another place"),
      {"two scalings", With("tiny-llama3", "rope_parameters", R"({"rope_type":"default"})"),
       "key 'rope_scaling'", "other values than in rope_parameters"},
      scaling("unknown type", R"("rope_type":"yarn","factor":4)", "rope_type", "'yarn' is not supported"),
      scaling("unknown old type", R"("type":"linear","factor":4)", "type", "'linear' is not supported"),
      scaling("types that differ", R"("type":"default","rope_type":"llama3")", "type",
              "but rope_type is 'llama3'"),
      scaling("type missing", good, "rope_type", "missing, expected"),
      scaling("type a number", R"("rope_type":3)", "rope_type", "3, expected a string"),
      scaling("factor with the default type", R"("rope_type":"default","factor":2)", "factor",
              "not supported with"),
      scaling("unknown key", replaced("\"factor\":8", "\"factor\":8,\"mscale\":1"), "mscale",
              "not supported with"),
      scaling("factor missing", replaced("\"factor\":8,", ""), "factor", "missing, expected a number"),
      scaling("factor 0", replaced(":8", ":0"), "factor", "0, expected a number from 1"),
      scaling("factor a string", replaced(":8", ":\"NaN\""), "factor", "\"NaN\", expected a number"),
      scaling("bands of no width", replaced(":4", ":1"), "high_freq_factor",
              "1, expected more than low_freq_factor"),
      scaling("length 0", replaced(":64", ":0"), "original_max_position_embeddings",
              "0, expected an integer"),
      scaling("length missing", replaced(",\"original_max_position_embeddings\":64", ""),
              "original_max_position_embeddings", "missing"),
      scaling("another theta", replaced(":64", ":64,\"rope_theta\":7"), "rope_theta",
              "7, but 500000 in another place"),
  };
}

class BadConfig : public ::testing::TestWithParam<Bad> {};

TEST_P(BadConfig, IsRefusedWithFileAndKey) {
  const TestFolder folder;
  const std::string path = folder.Write("config.json", GetParam().text);
  try {
    LoadConfig(folder.path());
    ADD_FAILURE() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    EXPECT_THAT(e.what(), StartsWith(path + ": "));
    EXPECT_THAT(e.what(), HasSubstr(GetParam().place));
    EXPECT_THAT(e.what(), HasSubstr(GetParam().message));
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << "more than one line";
    EXPECT_LT(std::string_view(e.what()).size(), 600u);
  }
}

std::string TestName(const ::testing::TestParamInfo<Bad>& info) {
  std::string name = std::to_string(info.index) + "_" + info.param.name.substr(0, 60);
  for (char& c : name) c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}
Bad Moe(const std::string& key, const std::string& value, const std::string& message) {
  return {"mixture: " + key + " " + value, With("tiny-qwen3-moe", key, value), "key '" + key + "'", message};
}

std::vector<Bad> Experts() {
  return {
      Missing("tiny-qwen3-moe", "num_experts"),
      Moe("num_experts", "0", "0, expected an integer from 1 to 5461"),
      Moe("num_experts", "1000000", "1000000, expected an integer from 1 to 5461"),
      Moe("num_local_experts", "5", "5 disagrees with num_experts, which is 4"),
      Missing("tiny-qwen3-moe", "num_experts_per_tok"),
      Moe("num_experts_per_tok", "5", "5, expected an integer from 1 to 4"),
      Missing("tiny-qwen3-moe", "moe_intermediate_size"),
      Missing("tiny-qwen3-moe", "norm_topk_prob"),
      Moe("norm_topk_prob", "1", "1, expected true or false"),
      Moe("decoder_sparse_step", "0", "0, expected an integer from 1"),
      Moe("mlp_only_layers", "1", "1, expected a list of layers"),
      Moe("mlp_only_layers", "[3]", "3, expected layers below num_hidden_layers, which is 3"),
      Moe("mlp_only_layers", "[-1]", "-1, expected layers below"),
      Moe("shared_expert_intermediate_size", "64", "64: a model structure that lowbit does not support"),
      Qwen("num_experts", "4", "4: a mixture of experts, which this model_type does not have"),
  };
}

INSTANTIATE_TEST_SUITE_P(Experts, BadConfig, ::testing::ValuesIn(Experts()), TestName);
INSTANTIATE_TEST_SUITE_P(Texts, BadConfig, ::testing::ValuesIn(Texts()), TestName);
INSTANTIATE_TEST_SUITE_P(Sizes, BadConfig, ::testing::ValuesIn(Sizes()), TestName);
INSTANTIATE_TEST_SUITE_P(Values, BadConfig, ::testing::ValuesIn(Values()), TestName);
INSTANTIATE_TEST_SUITE_P(Unsupported, BadConfig, ::testing::ValuesIn(Unsupported()), TestName);
INSTANTIATE_TEST_SUITE_P(Rope, BadConfig, ::testing::ValuesIn(Rope()), TestName);

TEST(BadConfigFile, MissingIsAnotherKindThanWrong) {
  const TestFolder folder;
  try {
    LoadConfig(folder.path());
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kMissing);
    EXPECT_THAT(e.what(), StartsWith(folder.File("config.json") + ": cannot open"));
  }
}

TEST(BadConfigFile, MissingFolderIsNamedItself) {
  try {
    LoadConfig("/nowhere/at/all");
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kMissing);
    EXPECT_THAT(e.what(), StartsWith("/nowhere/at/all: no such folder"));
  }
}

}  // namespace
}  // namespace lowbit
