// SPDX-License-Identifier: Apache-2.0
// Recipes and other arguments: exit code 2.
#include "tests/bad_input/site.h"

namespace lowbit::bad_input {

std::vector<Case> RecipeCases() {
  Table t(kQuantize, 2);
  const auto recipe = [&](const std::string& text, std::vector<std::string> says) {
    t.With({"quantize", "@model", text, "-o", "@out"})
        .Add("recipe " + text.substr(0, 60), Nothing(), std::move(says));
  };
  recipe("", {"recipe"});
  recipe("rtm-w4-g128", {"character 1", "'rtm'", "rtn"});
  recipe("rtn", {"character 4", "bits"});
  recipe("rtn-w4", {"rtn-w4", "group size"});
  recipe("rtn-w9-g128", {"character 5", "w9"});
  recipe("rtn-w0-channel", {"w0"});
  recipe("rtn-w04-g128", {"w04"});
  recipe("rtn-w99999999999999999999-g128", {"character 5"});
  recipe("rtn-w-4-g128", {"character 5"});
  recipe("rtn-w4-g0", {"character 8", "g0"});
  recipe("rtn-w4-g1000000000", {"character 8"});
  recipe("rtn-w4-g18446744073709551616", {"character 8"});
  recipe("rtn-w4-g128-asym", {"character 13", "asym"});
  recipe("rtn-w1-g32-sym", {"character 12"});
  recipe("rtn-w4-g32:", {"character 12", "option"});
  recipe("rtn-w4-g32:colour=red", {"character 12", "colour"});
  recipe("rtn-w4-g32:scale=f64", {"f64"});
  recipe("rtn-w4-g32:scale=f16,scale=f32", {"scale", "only once"});
  recipe("rtn-w4-g32:head=w9-g32", {"w9"});
  recipe("rtn-w4-g32:head=", {"keep"});
  recipe("rtn-w4-g32:grid=octave", {"octave"});
  recipe("rtn-w1-g32:range=mse", {"range"});
  recipe("full", {"full"});
  recipe("full-w4", {"character 5"});
  recipe("rtn-w4-g32:layers.0-99=w8-g32", {"layers.0-99", "the model has layers 0 to"});
  recipe("rtn-w4-g32:tensor.up_projection=keep", {"tensor.up_projection", "mlp.up_proj"});
  recipe("rtn-w4-g32:tensor.mlp=w8-g32,tensor.up_proj=keep", {"mlp.up_proj", "tensor.mlp", "one rule"});
  recipe("rtn-w4-g32:layers.0=w4-g32", {"layers.0", "changes nothing"});
  recipe("rtn-w4-g32:tensor.mlp=keep,tensor.self_attn=keep", {"keep every linear"});
  recipe("rtn-w4-g32:layers.1-0=keep", {"character 19", "1-0"});
  recipe("rtn-w4-g32:layers.0=" + std::string(50000, 'w'), {"character 21", "bits"});
  recipe("awq+rtn-w4-g128", {"'awq+rtn'"});
  recipe("rtn-w4-g32@fast", {"@fast"});
  recipe("rtn@fast-w4-g32", {"character 4", "@study"});
  recipe("rtn@study-w4-g32", {"character 14", "channel", "groups"});
  recipe("gptq@study-w4-g64-sym", {"character 19", "asymmetrically"});
  recipe("billm-w2-g64", {"character 7", "nothing behind billm"});
  recipe("billm:exact=maybe", {"maybe", "true or false"});
  recipe("billm:layers.0=w8-g32", {"character 16", "keep"});
  recipe("rtn-w4-g32\n\x1B[31m", {"recipe"});
  recipe("rtn-w4-g\xFF", {"recipe"});
  recipe(std::string(100000, '-'), {"recipe"});
  recipe("rtn-w4-g32:" + std::string(50000, ','), {"recipe"});
  t.With({"quantise", "@model"}).Add("an unknown command", Nothing(), {"quantise"});
  t.With({"quantize", "@model", "rtn-w4-g32"}).Add("no output folder", Nothing(), {"--out"});
  t.With({"eval", "@demo"}).Add("no tasks", Nothing(), {"--tasks"});
  t.With({"eval", "@demo", "--tasks", "wikitext9"})
      .Add("an unknown task", Nothing(), {"wikitext9", "wikitext2"});
  t.With({"eval", "@demo", "--tasks", "text:"}).Add("a text task without a text", Nothing(), {"text:"});
  t.With({"eval", "@demo", "--tasks", "text:@text.txt", "--window", "x"})
      .Add("a window that is a word", Nothing(), {"--window"});
  t.With({"eval", "@demo", "--tasks", "text:@text.txt", "--threads", "0"})
      .Add("no threads", Nothing(), {"--threads"});
  t.With({"eval", "@demo", "--tasks", "text:@text.txt", "--threads", "99999999999"})
      .Add("too many threads", Nothing(), {"--threads"});
  t.With({"eval", "@demo", "--tasks", "text:@text.txt", "--window", "8", "--backend", "cuda"})
      .Add("an unknown backend", Nothing(), {"cuda", "cpu"});
  t.With({"report", "@done/results.db", "-o", "@report.xls"})
      .Add("an unknown report format", Nothing(), {"xls", "html"});
  t.With({"report", "@done/results.db", "-o", "@done/results.db", "-f", "csv"})
      .Add("a report over its database", Nothing(), {"results.db"});
  t.Exits(6);
  t.With({"quantize", "@model", "rtn-w4-g32", "-o", "@model"})
      .Add("output is the model", Nothing(), {"model"});
  t.With({"quantize", "@model", "rtn-w4-g32", "-o", "@demo"})
      .Add("output holds other things", Nothing(), {"demo"});
  t.With({"quantize", "@model", "rtn-w3-g32", "-o", "@artefact"})
      .Add("output of another recipe", Nothing(), {"artefact", "recipe"});
  t.With({"quantize", "@model", "rtn-w4-g32", "-o", "@text.txt"})
      .Add("output is a file", Nothing(), {"text.txt"});
  return t.Take();
}

}  // namespace lowbit::bad_input
