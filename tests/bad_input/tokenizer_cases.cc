// SPDX-License-Identifier: Apache-2.0
// tokenizer.json and tokenizer_config.json.
#include "tests/bad_input/site.h"

namespace lowbit::bad_input {
namespace {

const std::string kFile = "demo/tokenizer.json", kConfig = "demo/tokenizer_config.json";

Damage File(const std::function<void(Json&)>& edit) {
  return Edit(kFile, edit);
}
Damage Vocab(const std::function<void(Json&)>& edit) {
  return File([=](Json& j) { edit(j["model"]["vocab"]); });
}
Damage Merge(const Json& merge) {
  return File([=](Json& j) { j["model"]["merges"][0] = merge; });
}
Damage Added(const std::function<void(Json&)>& edit) {
  return File([=](Json& j) { edit(j["added_tokens"][0]); });
}
Damage Pattern(const std::string& pattern) {
  return File([=](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern; });
}
// The id of the vocabulary's first token.
Damage FirstId(const Json& id) {
  return Vocab([=](Json& vocab) { vocab.begin().value() = id; });
}

void AddTexts(Table& t) {
  t.Add("empty", Text(kFile, ""), {kFile});
  t.Add("cut", Cut(kFile, 5000), {kFile, "byte"});
  t.Add("a list", Text(kFile, "[]"), {kFile, "expected an object"});
  t.Add("not UTF-8", Text(kFile, "{\"version\": \"\xFF\"}"), {kFile, "byte 13", "UTF-8"});
  t.Add("a lone surrogate", Text(kFile, R"({"version": "\ud800"})"), {kFile});
  t.Add("a byte order mark", Text(kFile, "\xEF\xBB\xBF{}"), {kFile, "byte 0", "byte order mark"});
  t.Add("nesting of 10^5", Text(kFile, std::string(100000, '[')), {kFile, "byte 64", "nested deeper"});
  t.Add("a sequence in a sequence, 5000 times",
        [](const Site& s) {
          std::string open, close;
          for (int i = 0; i < 5000; ++i) open += R"({"type":"Sequence","pretokenizers":[)", close += "]}";
          s.Write(kFile, "{\"pre_tokenizer\":" + open + close + "}");
        },
        {kFile, "nested deeper"});
  t.Add("a sparse gigabyte", Sparse(kFile, uint64_t{1} << 30), {kFile, "expected at most"});
  t.Add("a key twice", Swap(kFile, "{", "{\"version\": \"1.0\", "), {kFile, "twice"});
  t.Add("another version", File([](Json& j) { j["version"] = "2.0"; }), {kFile, "key 'version'", "2.0"});
}

void AddParts(Table& t) {
  t.Add("another model", File([](Json& j) { j["model"]["type"] = "Unigram"; }),
        {kFile, "key 'model.type'", "Unigram"});
  t.Add("no model", File([](Json& j) { j.erase("model"); }), {kFile, "no key 'model'"});
  t.Add("another normalizer", File([](Json& j) {
          j["normalizer"] = {{"type", "Lowercase"}};
        }),
        {kFile, "key 'normalizer.type'", "Lowercase"});
  t.Add("another pre-tokenizer", File([](Json& j) {
          j["pre_tokenizer"] = {{"type", "Metaspace"}};
        }),
        {kFile, "key 'pre_tokenizer", "Metaspace"});
  t.Add("no pre-tokenizer", File([](Json& j) { j["pre_tokenizer"] = nullptr; }),
        {kFile, "key 'pre_tokenizer'"});
  t.Add("another decoder", File([](Json& j) {
          j["decoder"] = {{"type", "WordPiece"}};
        }),
        {kFile, "key 'decoder.type'", "WordPiece"});
  t.Add("another post-processor", File([](Json& j) {
          j["post_processor"] = {{"type", "BertProcessing"}};
        }),
        {kFile, "key 'post_processor.type'"});
  t.Add("an unknown-token option", File([](Json& j) { j["model"]["unk_token"] = "<unk>"; }),
        {kFile, "key 'model.unk_token'"});
  t.Add("dropout", File([](Json& j) { j["model"]["dropout"] = 0.1; }), {kFile, "key 'model.dropout'"});
  t.Add("byte fallback", File([](Json& j) { j["model"]["byte_fallback"] = true; }),
        {kFile, "key 'model.byte_fallback'"});
  t.Add("a pattern that backtracks", Pattern("(a+)+b"), {kFile, "pattern.Regex'", "(a+)+b"});
  t.Add("a pattern that counts", Pattern("(((a{1,1000}){1,1000}){1,1000}){1,1000}"),
        {kFile, "pattern.Regex'"});
  t.Add("a pattern that is none", Pattern("("), {kFile, "pattern.Regex'"});
  t.Add("a pattern of 10 MB", Pattern(std::string(10 << 20, '(')), {kFile, "pattern.Regex'"});
}

void AddVocabulary(Table& t) {
  t.Add("no vocabulary", File([](Json& j) { j["model"].erase("vocab"); }), {kFile, "key 'model'", "'vocab'"});
  t.Add("a vocabulary that is a list", File([](Json& j) { j["model"]["vocab"] = Json::array(); }),
        {kFile, "key 'model.vocab'"});
  t.Add("an empty vocabulary", File([](Json& j) { j["model"]["vocab"] = Json::object(); }),
        {kFile, "key 'model.vocab'", "empty"});
  t.Add("an id twice", Vocab([](Json& v) { v.begin().value() = std::next(v.begin()).value(); }),
        {kFile, "token '"});
  for (const char* id : {"-1", "1.0", "\"1\"", "null", "4294967301", "4611686018427387904"})
    t.Add(std::string("id ") + id, FirstId(Json::parse(id)),
          {kFile, "key 'model.vocab': token '", "expected an integer"});
  t.Add("a token twice", Swap(kFile, "\"!\":", "\"!\": 4000000, \"!\":"), {kFile, "token '!'", "twice"});
  t.Add("a byte without a token", Vocab([](Json& v) { v.erase("A"); }), {kFile, "byte"});
  t.Add("a token outside the alphabet", Vocab([](Json& v) { v["\xE4\xB8\xAD"] = 4000000; }),
        {kFile, "token '\xE4\xB8\xAD'", "alphabet"});
  t.Add("a token without a character", Vocab([](Json& v) { v[""] = 4000000; }), {kFile, "token ''"});
  t.Add("a merge of nothing known", Merge("qqqq zzzz"), {kFile, "merge 0", "'qqqq'"});
  t.Add("a merge of one part", Merge("a"), {kFile, "merge 0"});
  t.Add("a merge of three parts", Merge("a b c"), {kFile, "merge 0"});
  t.Add("a merge that is a number", Merge(7), {kFile, "merge 0"});
  t.Add("a merge in another notation", Merge({"a", "b"}), {kFile, "merge "});
  t.Add("a merge twice", File([](Json& j) { j["model"]["merges"][1] = j["model"]["merges"][0]; }),
        {kFile, "merge 1", "as merge 0 does"});
  t.Add("merges that are an object", File([](Json& j) { j["model"]["merges"] = Json::object(); }),
        {kFile, "key 'model.merges'"});
}

void AddAdded(Table& t) {
  t.Add("an added token without text", Added([](Json& a) { a["content"] = ""; }),
        {kFile, "added_tokens[0].content"});
  t.Add("an added token of 10 MB", Added([](Json& a) { a["content"] = std::string(10 << 20, 'a'); }),
        {kFile, "added_tokens[0].content"});
  t.Add("an added token that is a number", Added([](Json& a) { a["content"] = 1; }),
        {kFile, "added_tokens[0].content"});
  t.Add("an added token without an id", Added([](Json& a) { a.erase("id"); }),
        {kFile, "added_tokens[0]", "'id'"});
  t.Add("an added token with id -1", Added([](Json& a) { a["id"] = -1; }), {kFile, "added_tokens[0].id"});
  t.Add("an added token with id 2^40", Added([](Json& a) { a["id"] = uint64_t{1} << 40; }),
        {kFile, "added_tokens[0].id"});
  t.Add("an added token on another's id", Added([](Json& a) { a["id"] = 5; }),
        {kFile, "added_tokens", "has id 5"});
  t.Add("an added token that strips", Added([](Json& a) { a["lstrip"] = true; }),
        {kFile, "added_tokens[0].lstrip"});
  t.Add("an added token twice", File([](Json& j) { j["added_tokens"].push_back(j["added_tokens"][0]); }),
        {kFile, "added_tokens["});
  t.Add("tokenizer_config is a list", Text(kConfig, "[]"), {kConfig, "expected an object"});
  t.Add("tokenizer_config cut", Text(kConfig, "{\"bos_token\": "), {kConfig, "byte"});
  t.Add("a bos that is no token", Text(kConfig, R"({"bos_token": "<nobody>"})"),
        {kConfig, "key 'bos_token'", "<nobody>"});
  t.Add("an eos that is a number", Text(kConfig, R"({"eos_token": 2})"), {kConfig, "key 'eos_token'"});
  t.With({"eval", "@model", "--tasks", "text:@text.txt", "--window", "8"});
  t.Add("more tokens than the model has rows", Nothing(),
        {"model/tokenizer.json", "token '", "rows of the embedding"});
}

}  // namespace

std::vector<Case> TokenizerCases() {
  Table t(kTokenize);
  AddTexts(t);
  AddParts(t);
  AddVocabulary(t);
  AddAdded(t);
  return t.Take();
}

}  // namespace lowbit::bad_input
