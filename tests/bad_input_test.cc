// SPDX-License-Identifier: Apache-2.0
// What a user meets when something is wrong: one line with file and place, the right exit code, and nothing
// written. Every case starts from files that work and breaks one thing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <functional>
#include <sstream>

#include "lowbit/base/files.h"
#include "lowbit/base/json.h"
#include "tests/program.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using test::Outcome;
using test::RunLowbit;
using test::TempFolder;

const std::string kModels = std::string(LOWBIT_TESTDATA) + "/models";
const std::string kDemo = std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3";

// A folder with a single-file model, a sharded one, a text and a study that all work.
class Site {
 public:
  Site() : folder_("bad") {
    CopyModel(kModels + "/tiny-qwen3", "model");
    CopyModel(kModels + "/tiny-qwen3-bf16-sharded", "sharded");
    // The demo tokenizer has more tokens than the tiny model has rows: fine for every case that fails
    // earlier.
    fs::copy_file(kDemo + "/tokenizer.json", Path("model/tokenizer.json"));
    CopyModel(kDemo, "demo");
    Write("text.txt",
          "What does every bit cost? A short text with a few words, twice over. " + std::string(400, 'x'));
    Write("ids.json", R"({"sequences": [[1, 2, 3]]})");
    Write("study.yaml",
          "study: s\nmodels: [demo]\nrecipes: [full]\ntasks: [{task: 'text:text.txt', window: 8}]\n");
  }
  std::string Path(const std::string& name) const { return folder_ / name; }
  void Write(const std::string& name, const std::string& text) const { WriteFileAtomic(Path(name), text); }
  std::string Read(const std::string& name) const { return ReadFile(Path(name)); }
  void Remove(const std::string& name) const { fs::remove_all(Path(name)); }
  std::vector<std::string> Files() const { return folder_.Files(); }

  void EditJson(const std::string& name, const std::function<void(Json&)>& edit) const {
    Json json = ParseJson(Read(name), Place(name), {size_t{64} << 20, 64});
    edit(json);
    Write(name, json.dump());
  }
  void Replace(const std::string& name, const std::string& from, const std::string& to) const {
    std::string text = Read(name);
    const size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << name << " has no " << from;
    Write(name, text.replace(at, from.size(), to));
  }

 private:
  void CopyModel(const std::string& from, const std::string& to) const {
    fs::create_directories(Path(to));
    for (const auto& entry : fs::directory_iterator(from)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("model") || name == "config.json" || name == "tokenizer.json") {
        fs::copy_file(entry.path(), fs::path(Path(to)) / name);
      }
    }
  }
  TempFolder folder_;
};

struct Case {
  const char* name;
  std::function<void(const Site&)> damage;
  std::vector<std::string> command;  // "@x" stands for the path of x in the site
  int exit_code;
  std::vector<std::string> says;  // all of it, in the one line of stderr
};

const std::vector<std::string> kInspect = {"inspect", "@model"};
const std::vector<std::string> kInspectSharded = {"inspect", "@sharded"};
const std::vector<std::string> kQuantize = {"quantize", "@model", "rtn-w4-g32", "-o", "@out"};
const std::vector<std::string> kLogits = {"logits",    "--model", "@model",          "--ids",
                                          "@ids.json", "--out",   "@out.safetensors"};
const std::vector<std::string> kTokenize = {"tokenize", "--model", "@demo"};
const std::vector<std::string> kStudy = {"study", "@study.yaml", "-o", "@out"};
const std::vector<std::string> kEval = {"eval", "@demo", "--tasks", "text:@text.txt", "--window", "8"};

const auto kNothing = [](const Site&) {};
auto Config(const std::string& key, Json value) {
  return [=](const Site& s) { s.EditJson("model/config.json", [&](Json& j) { j[key] = value; }); };
}
auto WithoutConfig(const std::string& key) {
  return [=](const Site& s) { s.EditJson("model/config.json", [&](Json& j) { j.erase(key); }); };
}
auto Study(const std::string& text) {
  return [=](const Site& s) { s.Write("study.yaml", text); };
}
auto StudyEdit(const std::string& from, const std::string& to) {
  return [=](const Site& s) { s.Replace("study.yaml", from, to); };
}
auto Index(const std::function<void(Json&)>& edit) {
  return [=](const Site& s) { s.EditJson("sharded/model.safetensors.index.json", edit); };
}
auto Tokenizer(const std::function<void(Json&)>& edit) {
  return [=](const Site& s) { s.EditJson("demo/tokenizer.json", edit); };
}
auto Recipe(const std::string& recipe) {
  return std::vector<std::string>{"quantize", "@model", recipe, "-o", "@out"};
}

// The first weight of the first layer's q_proj as a NaN.
void PutNaN(const Site& s) {
  std::string file = s.Read("model/model.safetensors");
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof(length));
  const Json header = ParseJson(std::string_view(file).substr(8, length), Place("header"));
  const size_t at =
      8 + length + header["model.layers.0.self_attn.q_proj.weight"]["data_offsets"][0].get<size_t>();
  std::fill_n(file.begin() + static_cast<std::ptrdiff_t>(at), 4, '\xFF');
  s.Write("model/model.safetensors", file);
}

std::vector<Case> Cases() {
  return {
      // Missing files, and folders instead of files.
      {"model folder missing", kNothing, {"inspect", "@nowhere"}, 4, {"nowhere", "no such folder"}},
      {"file instead of model folder", kNothing, {"inspect", "@text.txt"}, 4, {"text.txt", "not a folder"}},
      {"config missing",
       [](const Site& s) { s.Remove("model/config.json"); },
       kInspect,
       4,
       {"model/config.json"}},
      {"config is a folder",
       [](const Site& s) {
         s.Remove("model/config.json");
         fs::create_directory(s.Path("model/config.json"));
       },
       kInspect,
       4,
       {"model/config.json", "folder"}},
      {"weights missing", [](const Site& s) { s.Remove("model/model.safetensors"); }, kInspect, 4, {"model"}},
      {"shard missing",
       [](const Site& s) { s.Remove("sharded/model-00003-of-00006.safetensors"); },
       kInspectSharded,
       4,
       {"model-00003-of-00006.safetensors"}},
      {"tokenizer missing",
       [](const Site& s) { s.Remove("demo/tokenizer.json"); },
       kEval,
       4,
       {"demo/tokenizer.json"}},
      {"text missing", [](const Site& s) { s.Remove("text.txt"); }, kEval, 4, {"text.txt"}},
      {"study file missing", [](const Site& s) { s.Remove("study.yaml"); }, kStudy, 4, {"study.yaml"}},
      {"study file is a folder", kNothing, {"study", "@demo", "-o", "@out"}, 4, {"demo", "folder"}},
      {"results.db missing", kNothing, {"report", "@results.db", "-o", "@report.html"}, 4, {"results.db"}},
      {"ids missing", [](const Site& s) { s.Remove("ids.json"); }, kLogits, 4, {"ids.json"}},
      // safetensors
      {"weights empty",
       [](const Site& s) { s.Write("model/model.safetensors", ""); },
       kInspect,
       3,
       {"model.safetensors", "0 bytes"}},
      {"weights are an LFS pointer",
       [](const Site& s) {
         s.Write("model/model.safetensors",
                 "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n");
       },
       kInspect,
       3,
       {"model.safetensors", "LFS"}},
      {"weights are an HTML page",
       [](const Site& s) { s.Write("model/model.safetensors", "<!DOCTYPE html><html><head></head></html>"); },
       kInspect,
       3,
       {"model.safetensors", "HTML"}},
      {"weights cut in the data",
       [](const Site& s) {
         s.Write("model/model.safetensors", s.Read("model/model.safetensors").substr(0, 300000));
       },
       kInspect,
       3,
       {"model.safetensors"}},
      {"weights cut in the header",
       [](const Site& s) {
         s.Write("model/model.safetensors", s.Read("model/model.safetensors").substr(0, 100));
       },
       kInspect,
       3,
       {"model.safetensors"}},
      {"bytes after the data",
       [](const Site& s) { s.Write("model/model.safetensors", s.Read("model/model.safetensors") + "x"); },
       kInspect,
       3,
       {"model.safetensors"}},
      {"header length wraps",
       [](const Site& s) {
         std::string f = s.Read("model/model.safetensors");
         f.replace(0, 8, 8, '\xFF');
         s.Write("model/model.safetensors", f);
       },
       kInspect,
       3,
       {"model.safetensors"}},
      {"tensor renamed",
       [](const Site& s) {
         s.Replace("model/model.safetensors", "layers.0.mlp.up_proj", "layers.0.mlp.xx_proj");
       },
       kInspect,
       3,
       {"model.layers.0.mlp.up_proj.weight"}},
      {"unknown dtype",
       [](const Site& s) { s.Replace("model/model.safetensors", "\"F32\"", "\"F3X\""); },
       kInspect,
       3,
       {"model.safetensors", "F3X"}},
      {"NaN in a weight", PutNaN, kQuantize, 7, {"model.safetensors", "tensor 'model."}},
      // index
      {"index is not JSON",
       [](const Site& s) { s.Write("sharded/model.safetensors.index.json", "{\"weight_map\": {"); },
       kInspectSharded,
       3,
       {"model.safetensors.index.json", "byte"}},
      {"index without map",
       Index([](Json& j) { j.erase("weight_map"); }),
       kInspectSharded,
       3,
       {"index.json", "weight_map"}},
      {"shard name leaves the folder",
       Index([](Json& j) { j["weight_map"]["model.norm.weight"] = "../model/model.safetensors"; }),
       kInspectSharded,
       3,
       {"index.json", "../model/model.safetensors"}},
      {"shard name is a number",
       Index([](Json& j) { j["weight_map"]["model.norm.weight"] = 7; }),
       kInspectSharded,
       3,
       {"index.json", "model.norm.weight"}},
      {"tensor mapped to the wrong shard",
       Index([](Json& j) {
         auto& m = j["weight_map"];
         m["model.norm.weight"] = m["model.norm.weight"] == "model-00001-of-00006.safetensors"
                                      ? "model-00002-of-00006.safetensors"
                                      : "model-00001-of-00006.safetensors";
       }),
       kInspectSharded,
       3,
       {"model.norm.weight"}},
      {"tensor not in the map",
       Index([](Json& j) { j["weight_map"].erase("lm_head.weight"); }),
       kInspectSharded,
       3,
       {"lm_head.weight"}},
      // config
      {"config cut",
       [](const Site& s) { s.Write("model/config.json", s.Read("model/config.json").substr(0, 60)); },
       kInspect,
       3,
       {"config.json", "byte"}},
      {"config key twice",
       [](const Site& s) { s.Replace("model/config.json", "{", "{\"hidden_size\": 32, "); },
       kInspect,
       3,
       {"config.json", "hidden_size", "twice"}},
      {"hidden_size missing", WithoutConfig("hidden_size"), kInspect, 3, {"config.json", "hidden_size"}},
      {"hidden_size is a string", Config("hidden_size", "64"), kInspect, 3, {"config.json", "hidden_size"}},
      {"hidden_size contradicts the weights",
       Config("hidden_size", 32),
       kInspect,
       3,
       {"model.safetensors", "tensor 'model."}},
      {"zero heads", Config("num_attention_heads", 0), kInspect, 3, {"config.json", "num_attention_heads"}},
      {"kv heads do not divide",
       Config("num_key_value_heads", 3),
       kInspect,
       3,
       {"config.json", "num_key_value_heads"}},
      {"rope_theta missing", WithoutConfig("rope_theta"), kInspect, 3, {"config.json", "rope_theta"}},
      {"rope scaling unknown",
       Config("rope_scaling", Json{{"rope_type", "yarn"}, {"factor", 4.0}}),
       kInspect,
       3,
       {"config.json", "yarn"}},
      {"activation unknown",
       Config("hidden_act", "gelu"),
       kInspect,
       3,
       {"config.json", "hidden_act", "gelu"}},
      {"architecture unknown", Config("model_type", "mamba"), kInspect, 3, {"config.json", "mamba"}},
      {"fewer layers than stored", Config("num_hidden_layers", 1), kInspect, 3, {"num_hidden_layers"}},
      {"more layers than stored", Config("num_hidden_layers", 5), kInspect, 3, {"model.layers.2"}},
      {"a billion layers", Config("num_hidden_layers", 1000000000), kInspect, 3, {"num_hidden_layers"}},
      {"eps is negative", Config("rms_norm_eps", -1.0), kInspect, 3, {"config.json", "rms_norm_eps"}},
      {"quantized by another tool",
       Config("quantization_config", Json{{"quant_method", "gptq"}}),
       kInspect,
       3,
       {"config.json", "quantization_config"}},
      // tokenizer
      {"tokenizer cut",
       [](const Site& s) { s.Write("demo/tokenizer.json", s.Read("demo/tokenizer.json").substr(0, 5000)); },
       kTokenize,
       3,
       {"demo/tokenizer.json"}},
      {"tokenizer model unknown",
       Tokenizer([](Json& j) { j["model"]["type"] = "Unigram"; }),
       kTokenize,
       3,
       {"tokenizer.json", "Unigram"}},
      {"split pattern unknown",
       Tokenizer([](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = "(a+)+b"; }),
       kTokenize,
       3,
       {"tokenizer.json", "pattern"}},
      {"token id twice",
       Tokenizer([](Json& j) {
         auto& v = j["model"]["vocab"];
         v.begin().value() = std::next(v.begin()).value();
       }),
       kTokenize,
       3,
       {"tokenizer.json"}},
      {"merge of an unknown token",
       Tokenizer([](Json& j) { j["model"]["merges"][0] = "qqqq zzzz"; }),
       kTokenize,
       3,
       {"tokenizer.json"}},
      // recipes
      {"method unknown", kNothing, Recipe("rtm-w4-g128"), 2, {"rtm", "rtn"}},
      {"nine bits", kNothing, Recipe("rtn-w9-g128"), 2, {"w9"}},
      {"zero bits", kNothing, Recipe("rtn-w0-channel"), 2, {"w0"}},
      {"group of zero", kNothing, Recipe("rtn-w4-g0"), 2, {"g0"}},
      {"no granularity", kNothing, Recipe("rtn-w4"), 2, {"rtn-w4"}},
      {"option unknown", kNothing, Recipe("rtn-w4-g32:colour=red"), 2, {"colour"}},
      {"option twice", kNothing, Recipe("rtn-w4-g32:scale=f16,scale=f32"), 2, {"scale"}},
      {"empty recipe", kNothing, Recipe(""), 2, {"recipe"}},
      // studies
      {"study is not YAML", Study("study: [a\nmodels: b: c\n"), kStudy, 3, {"study.yaml", "line"}},
      {"study is empty", Study(""), kStudy, 3, {"study.yaml"}},
      {"study key unknown", StudyEdit("recipes:", "recipe:"), kStudy, 3, {"study.yaml: line 3", "recipe"}},
      {"study key twice",
       StudyEdit("study: s\n", "study: s\nstudy: t\n"),
       kStudy,
       3,
       {"study.yaml: line 2", "twice"}},
      {"study without tasks",
       StudyEdit("tasks: [{task: 'text:text.txt', window: 8}]\n", ""),
       kStudy,
       3,
       {"study.yaml", "tasks"}},
      {"study recipe unknown",
       StudyEdit("[full]", "[full, rtn-w99-g1]"),
       kStudy,
       3,
       {"study.yaml: line 3", "w99"}},
      {"study recipe twice",
       StudyEdit("[full]", "[rtn-w4-g128, rtn-w4-g128]"),
       kStudy,
       3,
       {"study.yaml: line 3", "twice"}},
      {"study task unknown",
       StudyEdit("'text:text.txt'", "wikitext9"),
       kStudy,
       3,
       {"study.yaml: line 4", "wikitext9"}},
      {"study window is a word",
       StudyEdit("window: 8", "window: many"),
       kStudy,
       3,
       {"study.yaml: line 4", "window", "many"}},
      {"study text too short", StudyEdit("window: 8", "window: 100000"), kStudy, 9, {}},
      {"study model missing", StudyEdit("[demo]", "[demos]"), kStudy, 4, {"demos"}},
      {"study compute unknown",
       StudyEdit("study: s\n", "study: s\ncompute: int8\n"),
       kStudy,
       3,
       {"study.yaml: line 2", "int8"}},
      // arguments and token ids
      {"command unknown", kNothing, {"quantise", "@model"}, 2, {"quantise"}},
      {"option missing", kNothing, {"eval", "@demo"}, 2, {"--tasks"}},
      {"threads zero",
       kNothing,
       {"eval", "@demo", "--tasks", "wikitext2", "--threads", "0"},
       2,
       {"--threads"}},
      {"backend unknown",
       kNothing,
       {"eval", "@demo", "--tasks", "text:@text.txt", "--window", "8", "--backend", "cuda"},
       2,
       {"cuda", "cpu"}},
      {"token id outside the vocabulary",
       [](const Site& s) { s.Write("ids.json", R"({"sequences": [[1, 512]]})"); },
       kLogits,
       3,
       {"512"}},
      {"token id is a float",
       [](const Site& s) { s.Write("ids.json", R"({"sequences": [[1.5]]})"); },
       kLogits,
       3,
       {"ids.json", "entry 0"}},
      {"text shorter than a window",
       [](const Site& s) { s.Write("text.txt", "one two"); },
       kEval,
       3,
       {"fewer than one window of 8"}},
      {"text is not UTF-8",
       [](const Site& s) { s.Write("text.txt", "ab\xFF"); },
       kEval,
       3,
       {"text.txt", "byte 2"}},
      {"results.db is a text", kNothing, {"report", "@text.txt", "-o", "@report.html"}, 3, {"text.txt"}},
  };
}

class BadInput : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Program, BadInput, testing::ValuesIn(Cases()), [](const auto& test) {
  std::string name = test.param.name;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(static_cast<unsigned char>(c)) == 0; }, '_');
  return name;
});

TEST_P(BadInput, GivesOneLineTheRightCodeAndNoFile) {
  const Site site;
  GetParam().damage(site);
  std::vector<std::string> arguments = GetParam().command;
  for (std::string& a : arguments) {
    if (const size_t at = a.find('@'); at != std::string::npos)
      a = a.substr(0, at) + site.Path(a.substr(at + 1));
  }
  const std::vector<std::string> before = site.Files();
  const Outcome outcome = RunLowbit(arguments);
  EXPECT_EQ(outcome.exit_code, GetParam().exit_code) << outcome.err;
  if (GetParam().exit_code == kExitPartial) return;  // a finished study keeps its row: study_program_test.cc
  EXPECT_EQ(outcome.out, "");
  std::istringstream lines(outcome.err);  // a warning may come before: it is another finding
  std::string error;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("warning: ")) continue;
    EXPECT_EQ(error, "") << "more than one line: " << outcome.err;
    error = line;
  }
  EXPECT_TRUE(error.starts_with("error: ")) << outcome.err;
  for (const std::string& part : GetParam().says) EXPECT_THAT(error, testing::HasSubstr(part));
  EXPECT_EQ(site.Files(), before) << "something was written";
}

TEST(BadInputControls, TheUndamagedFilesWork) {
  const Site site;
  for (const std::vector<std::string>& command :
       {kInspect, kInspectSharded, kQuantize, kLogits, kTokenize, kStudy, kEval}) {
    std::vector<std::string> arguments = command;
    for (std::string& a : arguments) {
      if (const size_t at = a.find('@'); at != std::string::npos)
        a = a.substr(0, at) + site.Path(a.substr(at + 1));
    }
    const Outcome outcome = RunLowbit(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << command[0] << ": " << outcome.err;
    site.Remove("out");
  }
}

TEST(BadInputAsJson, HasTheSameFields) {
  const Outcome outcome = RunLowbit({"inspect", "/no/such/folder", "--json"});
  EXPECT_EQ(outcome.exit_code, 4);
  const Json error = ParseJson(outcome.err, Place("stderr"))["error"];
  EXPECT_EQ(error["kind"], "missing");
  EXPECT_EQ(error["exit_code"], 4);
  EXPECT_EQ(error["file"], "/no/such/folder");
}

}  // namespace
}  // namespace lowbit
