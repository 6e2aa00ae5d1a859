// SPDX-License-Identifier: Apache-2.0
// What is measured on: texts, JSON lines of requests, token ids.
#include "tests/bad_input/site.h"

namespace lowbit::bad_input {
namespace {

const std::string kLines = "requests.jsonl";
const std::string kGood = "{\"context_ids\": [1], \"continuations\": [[2]]}\n";

Damage Lines(const std::string& text) {
  return Text(kLines, text);
}
Damage Second(const std::string& line) {
  return Text(kLines, kGood + line + "\n");
}
Damage Ids(const std::string& text) {
  return Text("ids.json", text);
}

void AddJsonLines(Table& t) {
  t.Add("a line that is not JSON", Second("{\"context_ids\": [1"), {kLines, "line 2", "byte"});
  t.Add("a line that is a list", Second("[1]"), {kLines, "line 2", "expected an object"});
  t.Add("two objects on a line", Second("{} {}"), {kLines, "line 2"});
  t.Add("not UTF-8", Second("{\"\xFF\": 1}"), {kLines, "line 2", "UTF-8"});
  t.Add("a NUL byte", Lines(kGood + std::string("{\"a\": 1}\0\n", 10)), {kLines, "line 2"});
  t.Add("UTF-16", Lines(std::string("\xFF\xFE{\0}\0\n\0", 8)), {kLines, "line 1"});
  t.Add("a carriage return between lines", Lines("{}\r{}\n"), {kLines, "line 1"});
  t.Add("nesting of 10^5", Second("{\"a\":" + std::string(100000, '[')), {kLines, "line 2", "nested deeper"});
  t.Add("a key twice", Second(R"({"context_ids": [1], "context_ids": [2]})"),
        {kLines, "line 2", "context_ids", "twice"});
  t.Add("a line of 10 MB that lacks a field", Second("{\"a\": \"" + std::string(10 << 20, 'x') + "\"}"),
        {kLines, "line 2", "context_ids"});
  t.Add("a sparse line of 100 MB", Sparse(kLines, 100 << 20), {kLines, "line 1", "the limit of a line"});
  t.Add("a field missing", Second(R"({"context_ids": [1]})"), {kLines, "line 2", "key 'continuations'"});
  t.Add("a field null", Second(R"({"context_ids": null, "continuations": [[1]]})"),
        {kLines, "line 2", "key 'context_ids'"});
  t.Add("a field that is a number", Second(R"({"context_ids": [1], "continuations": 7})"),
        {kLines, "line 2", "key 'continuations'"});
  t.Add("a continuation that is a number", Second(R"({"context_ids": [1], "continuations": [7]})"),
        {kLines, "line 2", "key 'continuations'"});
  t.Add("a token that is a word", Second(R"({"context_ids": ["a"], "continuations": [[1]]})"),
        {kLines, "line 2", "key 'context_ids'", "entry 0"});
  t.Add("a token of 2^40", Second(R"({"context_ids": [1099511627776], "continuations": [[1]]})"),
        {kLines, "line 2", "entry 0"});
  t.Add("a token of -1", Second(R"({"context_ids": [-1], "continuations": [[1]]})"),
        {kLines, "line 2", "entry 0"});
  t.Add("a length of 0", Second(R"({"context_ids": [1], "continuations": [[1]], "max_length": 0})"),
        {kLines, "line 2", "key 'max_length'"});
  t.Add("an empty context", Second(R"({"context_ids": [], "continuations": [[1]]})"),
        {"request 1", "context is empty"});
  t.Add("an empty continuation", Second(R"({"context_ids": [1], "continuations": [[]]})"),
        {"request 1", "continuation is empty"});
  t.Add("a continuation longer than the length",
        Second(R"({"context_ids": [1], "continuations": [[1, 2, 3]], "max_length": 2})"),
        {"request 1", "max_length 2"});
  t.Add("a token outside the vocabulary", Second(R"({"context_ids": [512], "continuations": [[1]]})"),
        {"512"});
}

void AddIds(Table& t) {
  t.With(kLogits);
  t.Add("ids: empty", Ids(""), {"ids.json", "byte 0"});
  t.Add("ids: a list", Ids("[[1]]"), {"ids.json", "sequences"});
  t.Add("ids: no sequence", Ids(R"({"sequences": []})"), {"ids.json", "key 'sequences'", "empty"});
  t.Add("ids: an empty sequence", Ids(R"({"sequences": [[1], []]})"), {"ids.json", "sequence 1", "empty"});
  t.Add("ids: a float", Ids(R"({"sequences": [[1.5]]})"), {"ids.json", "sequence 0", "entry 0"});
  t.Add("ids: null", Ids(R"({"sequences": [null]})"), {"ids.json", "sequence 0"});
  t.Add("ids: outside the vocabulary", Ids(R"({"sequences": [[1, 512]]})"), {"512"});
  t.Add("ids: a sparse terabyte", Sparse("ids.json", uint64_t{1} << 40), {"ids.json", "expected at most"});
  t.Add("ids: nesting of 10^5", Ids("{\"sequences\":" + std::string(100000, '[')),
        {"ids.json", "nested deeper"});
}

void AddTexts(Table& t) {
  t.With(kEval);
  t.Add("text: empty", Text("text.txt", ""), {"text.txt", "empty"});
  t.Add("text: shorter than a window", Text("text.txt", "one two"), {"fewer than one window of 8"});
  t.Add("text: not UTF-8", Text("text.txt", "ab\xFF"), {"text.txt", "byte 2"});
  t.Add("text: a surrogate", Text("text.txt", "ab\xED\xA0\x80"), {"text.txt", "byte 2"});
  t.Add("text: cut in a character", Text("text.txt", "ab\xE4\xB8"), {"text.txt", "byte 2"});
  t.Add("text: UTF-16", Text("text.txt", std::string("\xFF\xFEW\0h\0", 6)), {"text.txt", "byte 0"});
  t.Add("text: a sparse terabyte", Sparse("text.txt", uint64_t{1} << 40), {"text.txt", "expected at most"});
}

}  // namespace

std::vector<Case> DataCases() {
  Table t(kScore);
  AddJsonLines(t);
  AddIds(t);
  AddTexts(t);
  return t.Take();
}

}  // namespace lowbit::bad_input
