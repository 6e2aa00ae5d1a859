// SPDX-License-Identifier: Apache-2.0
// Study files.
#include "tests/bad_input/site.h"

namespace lowbit::bad_input {
namespace {

const std::string kFile = "study.yaml";

Damage Study(const std::string& text) {
  return Text(kFile, text);
}
Damage Line(const std::string& from, const std::string& to) {
  return Swap(kFile, from, to);
}

// Each line holds the one before it ten times.
std::string Laughs(int lines) {
  std::string text = "a0: &a0 x\n";
  for (int i = 1; i < lines; ++i) {
    text += fmt::format("a{}: &a{} [", i, i);
    for (int k = 0; k < 10; ++k) text += fmt::format("{}*a{}", k == 0 ? "" : ", ", i - 1);
    text += "]\n";
  }
  return text;
}

void AddYaml(Table& t) {
  t.Add("empty", Study(""), {kFile});
  t.Add("a comment only", Study("# nothing\n"), {kFile});
  t.Add("not YAML", Study("study: [a\nmodels: b: c\n"), {kFile, "line"});
  t.Add("a list", Study("- a\n"), {kFile, "line 1", "expected a map"});
  t.Add("not UTF-8", Study("study: \xFF\n"), {kFile, "byte 7"});
  t.Add("a NUL byte", Study(std::string("study: s\0\n", 10)), {kFile});
  t.Add("two documents", [](const Site& s) { s.Write(kFile, s.Read(kFile) + "---\nstudy: t\n"); },
        {kFile, "second YAML document"});
  t.Add("a text that yaml-cpp never ends", Study(",bf W"), {kFile});
  t.Add("ten to the eighth laughs", Study(Laughs(9)), {kFile, "line 1", "a0"});
  t.Add("laughs as models",
        [](const Site& s) {
          std::string bomb = Laughs(9);
          s.Write(kFile, "study: s\nmodels: " + bomb.substr(bomb.rfind("a8: ") + 4));
        },
        {kFile, "line 2"});
  t.Add("a recipe that learns, without calibration", Line("[full]", "[full, gptq-w4-g32]"),
        {kFile, "line 3", "learns from a text", "calibration"});
  t.Add("calibration of no file", Line("[full]", "[full]\ncalibration: {samples: 4}"), {kFile, "file"});
  t.Add("a policy nobody knows", Line("[full]", "[full]\ncalibration: {file: a.txt, policy: all}"),
        {kFile, "all", "concat"});
  t.Add("an alias of itself", Line("[full]", "&a [full, *a]"), {kFile, "line 3"});
  t.Add("nesting of 10^5", Study("study: " + std::string(100000, '[')), {kFile, "line 1", "nested deeper"});
  t.Add("nesting of 10^5 maps", Study("study: " + std::string(100000, '{')), {kFile, "line 1"});
  t.Add("nesting of 10^4 dashes",
        [](const Site& s) {
          std::string text = "study:\n ";
          for (int i = 0; i < 10000; ++i) text += "- ";
          s.Write(kFile, text + "x\n");
        },
        {kFile, "line 2"});
  t.Add("a megabyte and more", Study("study: " + std::string(2 << 20, 'x')), {kFile, "expected at most"});
  t.Add("a word of a megabyte", Study("study: " + std::string(1000000, 'x') + "\n"), {kFile, "line 1"});
  t.Add("a sparse terabyte", Sparse(kFile, uint64_t{1} << 40), {kFile, "expected at most"});
  t.Add("a tab as indentation", Study("study: s\nmodels:\n\t- a\n"), {kFile, "line"});
}

void AddKeys(Table& t) {
  t.Add("an unknown key", Line("recipes:", "recipe:"), {kFile, "line 3", "recipe"});
  t.Add("a key twice", Line("study: s\n", "study: s\nstudy: t\n"), {kFile, "line 2", "twice"});
  t.Add("a key that is a list", Line("study: s\n", "study: s\n? [a]\n: b\n"), {kFile, "line 2"});
  for (const char* key : {"study", "models", "recipes", "tasks"})
    t.Add(std::string("no ") + key,
          [=](const Site& s) {
            const std::string text = s.Read(kFile);
            const size_t at = text.find(std::string(key) + ":");
            s.Write(kFile, text.substr(0, at) + text.substr(text.find('\n', at) + 1));
          },
          {kFile, std::string("key '") + key + "' is missing"});
  t.Add("a name that leads elsewhere", Line("study: s", "study: ../s"), {kFile, "line 1", "../s"});
  t.Add("a name that is a list", Line("study: s", "study: [s]"), {kFile, "line 1"});
  t.Add("no models in the list", Line("[demo]", "[]"), {kFile, "line 2", "empty list"});
  t.Add("models that are a word", Line("[demo]", "demo"), {kFile, "line 2", "expected a list"});
  t.Add("a model twice", Line("[demo]", "[demo, ./demo]"), {kFile, "line 2", "twice"});
  t.Add("a model's name that leads elsewhere", Line("[demo]", "[{folder: demo, name: ../x}]"),
        {kFile, "line 2", "../x"});
  t.Add("a model without a folder", Line("[demo]", "[{name: x}]"), {kFile, "line 2", "folder"});
  t.Add("an unknown recipe", Line("[full]", "[full, rtn-w99-g1]"), {kFile, "line 3", "w99"});
  t.Add("a recipe twice", Line("[full]", "[rtn-w4-g128, 'rtn-w4-g128:scale=f16']"),
        {kFile, "line 3", "twice"});
  const auto grid = [&](const std::string& what, const std::string& text, std::vector<std::string> says) {
    says.insert(says.end(), {kFile, "line 3"});
    t.Add("a grid " + what, Line("[full]", "[full, {" + text + "}]"), says);
  };
  grid("with a bit too few", "methods: [gptq], bits: [1], groups: [64]", {"gptq-w1-g64", "w2 to w8"});
  grid("of nothing", "methods: [gptq], bits: [1], groups: [64], skip_refused: true",
       {"left out", "w2 to w8"});
  grid("without bits", "methods: [rtn], groups: [64]", {"key 'bits' is missing"});
  grid("with bits that are a word", "methods: [rtn], bits: [many], groups: [64]", {"many"});
  grid("with a recipe twice", "methods: [rtn], bits: [4, 4], groups: [64]", {"rtn-w4-g64", "twice"});
  grid("with an unknown key", "methods: [rtn], bits: [4], group: [64]", {"group"});
  grid("with an option nobody knows", "methods: [rtn], bits: [4], groups: [64], options: [a=b]", {"a=b"});
  t.Add("a rule of no layer", Line("[full]", "[{recipe: rtn-w4-g64, rules: {layers: w8-g64}}]"),
        {kFile, "line 3", "layers.0-3"});
  t.Add("a rule with two values",
        Line("[full]", "[{recipe: rtn-w4-g64, rules: {layers.0: 'keep,head=keep'}}]"),
        {kFile, "line 3", "keep,head=keep"});
  t.Add("rules that are a list", Line("[full]", "[{recipe: rtn-w4-g64, rules: [keep]}]"),
        {kFile, "line 3", "expected a map"});
  t.Exits(2)
      .Add("a rule that the model cannot follow", Line("[full]", "['rtn-w4-g64:layers.0-99=keep']"),
           {kFile, "model 'demo'", "layers.0-99"})
      .Exits(3);
  t.Add("a recipe that is a map", Line("[full]", "[{a: b}]"), {kFile, "line 3"});
  t.Add("an unknown task", Line("'text:text.txt'", "wikitext9"), {kFile, "line 4", "wikitext9"});
  t.Add("a task twice", Line("}]", "}, {task: 'text:text.txt', window: 8}]"), {kFile, "line 4", "twice"});
  t.Add("a task with an unknown key", Line("window: 8", "size: 8"), {kFile, "line 4", "size"});
  for (const char* window : {"0", "-1", "many", "1.5", "1e3", "1000000001", "18446744073709551616", "[8]"})
    t.Add(std::string("window ") + window, Line("window: 8", std::string("window: ") + window),
          {kFile, "line 4", "window"});
  t.Add("an unknown compute", Line("study: s\n", "study: s\ncompute: int8\n"), {kFile, "line 2", "int8"});
  t.Add("a flag that is a word", Line("study: s\n", "study: s\nkeep_artefacts: perhaps\n"),
        {kFile, "line 2", "perhaps"});
  t.Add("divergence that is a number", Line("study: s\n", "study: s\ndivergence: 3\n"),
        {kFile, "line 2", "'3'"});
  t.Exits(4);
  t.Add("a model that is not there", Line("[demo]", "[demos]"), {"demos"});
  t.Add("a text that is not there", Line("text.txt", "texts.txt"), {"texts.txt"});
  t.Add("a data folder that is not there",
        Text(kFile, "study: s\ndata: nowhere\nmodels: [demo]\nrecipes: [full]\ntasks: [wikitext2]\n"),
        {"nowhere"});
  t.Exits(3)
      .Add("a model's folder with a NUL", Line("[demo]", "[\"demo\\0x\"]"), {kFile, "line 2", "NUL"})
      .Exits(4);
  t.Exits(9).Add("a text shorter than a window", Line("window: 8", "window: 100000"), {});
}

}  // namespace

std::vector<Case> StudyCases() {
  Table t(kStudy);
  AddYaml(t);
  AddKeys(t);
  return t.Take();
}

}  // namespace lowbit::bad_input
