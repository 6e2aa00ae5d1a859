// SPDX-License-Identifier: Apache-2.0
// config.json: what it says by itself, and against the weights.
#include "tests/bad_input/site.h"

namespace lowbit::bad_input {
namespace {

const std::string kConfig = "model/config.json";

Damage Set(const std::string& key, const Json& value) {
  return Edit(kConfig, [=](Json& j) { j[key] = value; });
}
Damage SetLlama(const std::string& key, const Json& value) {
  return Edit("llama/config.json", [=](Json& j) { j[key] = value; });
}
Damage SetRope(const std::string& key, const Json& value) {
  return Edit("llama/config.json", [=](Json& j) { j["rope_scaling"][key] = value; });
}
Damage Without(const std::string& key) {
  return Edit(kConfig, [=](Json& j) { j.erase(key); });
}
std::string Key(const std::string& key) {
  return "key '" + key + "'";
}

void AddTexts(Table& t) {
  t.Add("empty", Text(kConfig, ""), {kConfig, "byte 0"});
  t.Add("cut", Cut(kConfig, 60), {kConfig, "byte"});
  t.Add("two objects", Text(kConfig, "{} {}"), {kConfig, "byte"});
  t.Add("a list", Text(kConfig, "[]"), {kConfig, "expected an object"});
  t.Add("null", Text(kConfig, "null"), {kConfig, "expected an object"});
  t.Add("not UTF-8", Text(kConfig, "{\"\xFF\": 1}"), {kConfig, "byte 2", "UTF-8"});
  t.Add("UTF-16", Text(kConfig, std::string("\xFF\xFE{\0}\0", 6)), {kConfig, "byte 0"});
  t.Add("a byte order mark", [](const Site& s) { s.Write(kConfig, "\xEF\xBB\xBF" + s.Read(kConfig)); },
        {kConfig, "byte 0", "byte order mark"});
  t.Add("NUL at the end", [](const Site& s) { s.Write(kConfig, s.Read(kConfig) + '\0'); }, {kConfig, "NUL"});
  t.Add("nesting of 10^5", Text(kConfig, std::string(100000, '[')), {kConfig, "nested deeper than 32"});
  t.Add("a bare NaN", Swap(kConfig, "1e-06", "NaN"), {kConfig, "byte"});
  t.Add("1e400", Swap(kConfig, "1e-06", "1e400"), {kConfig, "1e400"});
  t.Add("a sparse gigabyte", Sparse(kConfig, uint64_t{1} << 30), {kConfig, "expected at most"});
  t.Add("a comment", Swap(kConfig, "{", "{ // sizes\n"), {kConfig, "byte"});
  t.Add("a trailing comma", Swap(kConfig, "512\n}", "512,\n}"), {kConfig, "byte"});
  t.Add("a key twice", Swap(kConfig, "{", "{\"hidden_size\": 32, "), {kConfig, "hidden_size", "twice"});
}

void AddSizes(Table& t) {
  for (const char* key : {"hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings"})
    t.Add(std::string(key) + " missing", Without(key), {kConfig, Key(key), "missing"});
  for (const char* value : {"0", "-64", "64.5", "64.0", "\"64\"", "true", "[]", "4294967360",
                            "4611686018427387904", "1208925819614629174706176"})
    t.Add(std::string("hidden_size ") + value, Set("hidden_size", Json::parse(value)),
          {kConfig, Key("hidden_size"), "expected an integer"});
  for (const char* key : {"intermediate_size", "vocab_size", "num_attention_heads", "num_key_value_heads",
                          "head_dim", "num_hidden_layers"}) {
    t.Add(std::string(key) + " 0", Set(key, 0), {kConfig, Key(key)});
    t.Add(std::string(key) + " 2^62", Set(key, uint64_t{1} << 62),
          {kConfig, Key(key), "4611686018427387904"});
  }
  t.Add("10^9 layers", Set("num_hidden_layers", 1000000000), {kConfig, Key("num_hidden_layers")});
  t.Add("4096 layers", Set("num_hidden_layers", 4096), {"model.layers.2"});
  t.Add("heads that do not divide", Set("num_key_value_heads", 3),
        {kConfig, Key("num_key_value_heads"), "divisor"});
  t.Add("more key heads than heads", Set("num_key_value_heads", 8), {kConfig, Key("num_key_value_heads")});
  t.Add("an odd head_dim", Set("head_dim", 31), {kConfig, Key("head_dim"), "even"});
  t.Add("a bos outside the vocabulary", Set("bos_token_id", 512),
        {kConfig, Key("bos_token_id"), "below vocab_size"});
  t.Add("a negative eos", Set("eos_token_id", -1), {kConfig, Key("eos_token_id")});
  t.Add("an eos list with a word", Set("eos_token_id", {1, "x"}), {kConfig, Key("eos_token_id")});
}

void AddOthers(Table& t) {
  for (const Json& eps : {Json(-1.0), Json(0), Json(0.5), Json("1e-6")})
    t.Add("eps " + eps.dump(), Set("rms_norm_eps", eps), {kConfig, Key("rms_norm_eps"), "expected a number"});
  for (const Json& theta : {Json(0), Json(-10000), Json(1e300), Json("x")})
    t.Add("theta " + theta.dump(), Set("rope_theta", theta), {kConfig, Key("rope_theta")});
  t.Add("no eps", Without("rms_norm_eps"), {kConfig, Key("rms_norm_eps")});
  t.Add("no theta", Without("rope_theta"), {kConfig, "rope_theta"});
  t.Add("a scaling of another kind", Set("rope_scaling", Json{{"rope_type", "yarn"}, {"factor", 4.0}}),
        {kConfig, "yarn"});
  t.Add("a model_type of another kind", Set("model_type", "mamba"), {kConfig, Key("model_type"), "mamba"});
  t.Add("a model_type that is a number", Set("model_type", 3), {kConfig, Key("model_type")});
  t.Add("no model_type", Without("model_type"), {kConfig, Key("model_type")});
  t.Add("an architecture that disagrees", Set("architectures", {"LlamaForCausalLM"}),
        {kConfig, Key("architectures"), "disagrees"});
  t.Add("architectures empty", Set("architectures", Json::array()), {kConfig, Key("architectures")});
  t.Add("another activation", Set("hidden_act", "gelu"), {kConfig, Key("hidden_act"), "gelu"});
  t.Add("sliding windows", Set("use_sliding_window", true), {kConfig, Key("use_sliding_window")});
  t.Add("layer types of another kind", Set("layer_types", {"full_attention", "linear_attention"}),
        {kConfig, Key("layer_types"), "linear_attention"});
  t.Add("layer types too few", Set("layer_types", {"full_attention"}), {kConfig, Key("layer_types")});
  t.Add("weights quantized elsewhere", Set("quantization_config", Json{{"quant_method", "gptq"}}),
        {kConfig, Key("quantization_config")});
  t.Add("code to run", Set("auto_map", Json{{"AutoModel", "a.B"}}), {kConfig, Key("auto_map"), "code"});
  t.Add("a repository of code", Set("attn_implementation", "someone/kernels"),
        {kConfig, Key("attn_implementation"), "code"});
  t.Add("experts", Set("num_experts", 8), {kConfig, Key("num_experts")});
  t.Add("a bias of another family", Set("mlp_bias", true), {kConfig, Key("mlp_bias")});
  t.Add("no word on the head", Without("tie_word_embeddings"), {kConfig, Key("tie_word_embeddings")});
}

void AddAgainstWeights(Table& t) {
  t.Add("another hidden_size", Set("hidden_size", 32),
        {"model.safetensors", "tensor 'model.", "hidden_size"});
  t.Add("another vocab_size", Set("vocab_size", 511), {"embed_tokens", "[511, 64]", "vocab_size"});
  t.Add("another intermediate_size", Set("intermediate_size", 129), {"mlp.", "intermediate_size"});
  t.Add("another head_dim", Set("head_dim", 16), {"self_attn.", "head_dim"});
  t.Add("fewer layers than stored", Set("num_hidden_layers", 1), {"num_hidden_layers"});
  t.Add("more layers than stored", Set("num_hidden_layers", 5), {"model.layers.2"});
  t.Add("biases that are not there", Set("attention_bias", true), {"bias", "attention_bias"});
  t.Add("a head that is not there", Set("tie_word_embeddings", false),
        {"lm_head.weight", "tie_word_embeddings"});
  t.With(kInspectLlama);
  t.Add("llama: rope factor 0", SetRope("factor", 0), {"llama/config.json", Key("factor")});
  t.Add("llama: rope factors in the wrong order", SetRope("low_freq_factor", 5),
        {"llama/config.json", Key("high_freq_factor")});
  t.Add("llama: rope positions missing", SetRope("original_max_position_embeddings", nullptr),
        {"llama/config.json", Key("original_max_position_embeddings")});
  t.Add("llama: a rope key nobody knows", SetRope("attention_factor", 2),
        {"llama/config.json", Key("attention_factor")});
  t.Add("llama: two thetas", SetRope("rope_theta", 10000), {"llama/config.json", "rope_theta"});
  t.Add("llama: heads that do not divide hidden_size", SetLlama("num_attention_heads", 5),
        {"llama/config.json", Key("num_attention_heads")});
}

}  // namespace

std::vector<Case> ConfigCases() {
  Table t(kInspect);
  AddTexts(t);
  AddSizes(t);
  AddOthers(t);
  AddAgainstWeights(t);
  return t.Take();
}

}  // namespace lowbit::bad_input
