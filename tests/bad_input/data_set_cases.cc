// SPDX-License-Identifier: Apache-2.0
// Data sets that are not what their task reads.
#include <filesystem>

#include "tests/bad_input/site.h"

namespace lowbit::bad_input {
namespace {

const std::string kC4 = "data/c4/validation.jsonl", kList = "data/c4/study-windows.csv";
const std::string kPages = "data/wikitext2/wiki.test.pages.jsonl", kRaw = "data/wikitext2/wiki.test.raw";
const std::string kHeader = "window,doc_index,token_offset,doc_tokens_min,doc_tokens_max\n";
const std::string kShipped = kHeader + "0,25247,388,2437,2559\n";  // the beginning of the list that ships

Command Eval(const std::string& task) {
  return {"eval", "@demo", "--tasks", task, "--data", "@data"};
}

// The folder has this file and no other.
Damage Holds(const std::string& name, const std::string& text) {
  return [=](const Site& site) {
    std::filesystem::create_directories(std::filesystem::path(site.Path(name)).parent_path());
    site.Write(name, text);
  };
}

Damage Both(const Damage& a, const Damage& b) {
  return [=](const Site& site) {
    a(site);
    b(site);
  };
}

void AddC4(Table& t) {
  for (const char* task : {"c4-new", "c4", "c4@study"}) {
    t.With(Eval(task));
    const auto add = [&](const std::string& what, const std::string& text,
                         const std::vector<std::string>& says) {
      t.Add(std::string(task) + ": " + what, Both(Holds(kC4, text), Holds(kList, kShipped)), says);
    };
    add("an empty file", "", {kC4, "holds no documents"});
    add("a field missing", "{\"text\": \"a\"}\n{\"url\": \"a\"}\n", {kC4, "line 2", "'text'"});
    add("a text that is a list", "{\"text\": [\"a\"]}\n", {kC4, "line 1", "key 'text'", "expected a string"});
    add("not UTF-8", "{\"text\": \"a\"}\n{\"text\": \"caf\xE9\"}\n", {kC4, "line 2", "UTF-8"});
  }
  t.With(Eval("c4"))
      .Add("c4: no document long enough", Holds(kC4, "{\"text\": \"a b c\"}\n{\"text\": \"d\"}\n"),
           {kC4, "none of its 2 documents has more than 2048 tokens"});
  t.With(Eval("c4-new"))
      .Add("c4-new: too little text", Holds(kC4, "{\"text\": \"a b c\"}\n"),
           {"fewer than one window of 2048"});
}

void AddWindowLists(Table& t) {
  const Damage documents = Holds(kC4, "{\"text\": \"a b c\"}\n{\"text\": \"d e f\"}\n");
  t.With(Eval("c4@study"));
  t.Add("c4@study: a list of other documents", Both(documents, Holds(kList, kShipped)),
        {"c4/study-windows.csv", "window 0", "document 25247", "there are 2 documents"});
  t.Add("c4@study: a window behind its document's end",
        Both(documents, Holds(kList, kHeader + "0,1,99,2200,2300\n")),
        {kList, "window 0", "token 99 of document 1", "expected 2200 to 2300"});
  t.Add("c4@study: a list that is cut", Both(documents, Holds(kList, kHeader + "0,1,9,2200,2300\n1,1")),
        {kList, "line 3"});
  t.Add("c4@study: a list without a header", Both(documents, Holds(kList, "0,1,99,2200,2300\n")),
        {kList, "line 1", "expected the header window,doc_index"});
}

void AddWikiText(Table& t) {
  t.With(Eval("wikitext"));
  t.Add("wikitext: no pages", Holds(kPages, "\n"), {kPages, "holds no pages"});
  t.Add("wikitext: a field missing", Holds(kPages, "{\"page\": \"a\"}\n{\"text\": \"a\"}\n"),
        {kPages, "line 2", "'page'"});
  t.Add("wikitext: an empty raw file", Holds(kRaw, ""), {kRaw, "is empty"});
  t.Add("wikitext: a raw file that is not UTF-8", Holds(kRaw, " = A = \n caf\xE9 \n"), {kRaw, "byte 12"});
  t.Add("wikitext: a tokenizer that names no token to begin with", Holds(kRaw, " = A = \n a \n"),
        {"tokenizer.json", "names neither a bos nor an eos token"});
}

}  // namespace

std::vector<Case> DataSetCases() {
  Table t({});
  AddC4(t);
  AddWindowLists(t);
  AddWikiText(t);
  t.Exits(2).With({"eval", "@demo", "--tasks", "c4@study", "--window", "512", "--data", "@data"});
  t.Add("c4@study: another window", Holds(kC4, "{\"text\": \"a\"}\n"), {"c4@study", "2048", "512"});
  return t.Take();
}

}  // namespace lowbit::bad_input
