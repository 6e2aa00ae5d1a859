// SPDX-License-Identifier: Apache-2.0
// Files that are not what they should be: each is refused with the right kind, naming file and place.
#include "lowbit/text/tokenizer_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "lowbit/text/testing.h"

namespace lowbit {
namespace {

using testing::HasSubstr;
using text_testing::ParseSmall;
using text_testing::SmallTokenizer;

// `place` must be in the error's place (inside the file), `says` in its message.
void ExpectRefused(const std::string& name, const std::string& text, const std::string& place,
                   const std::string& says) {
  SCOPED_TRACE(name);
  try {
    ParseTokenizerFile(text, Place("tokenizer.json"));
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kContent) << error.what();
    EXPECT_EQ(error.place().file(), "tokenizer.json");
    EXPECT_THAT(error.place().item(), HasSubstr(place));
    EXPECT_THAT(error.message(), HasSubstr(says));
    EXPECT_LT(std::string(error.what()).size(), 500u);
  }
}

struct BadJson {
  const char* name;
  std::function<void(Json&)> spoil;
  const char *place, *says;
};

void ExpectAllRefused(const std::vector<BadJson>& table) {
  for (const BadJson& row : table) {
    Json json = SmallTokenizer();
    row.spoil(json);
    ExpectRefused(row.name, json.dump(), row.place, row.says);
  }
}

std::string Replaced(std::string text, const std::string& what, const std::string& by) {
  const size_t at = text.find(what);
  EXPECT_NE(at, std::string::npos) << what;
  return text.replace(at, what.size(), by);
}

TEST(TokenizerFile, AcceptsTheUnspoiledFile) {
  EXPECT_NO_THROW(ParseSmall(SmallTokenizer()));
}

TEST(TokenizerFile, RefusesTextThatIsNotJsonNamingTheByte) {
  const std::string good = SmallTokenizer().dump();
  ExpectRefused("empty", "", "byte 0", "not valid JSON");
  ExpectRefused("blank", "  \n", "byte 3", "not valid JSON");
  ExpectRefused("cut", good.substr(0, 1000), "byte 1000", "not valid JSON");
  ExpectRefused("one byte missing", good.substr(0, good.size() - 1), "byte", "not valid JSON");
  ExpectRefused("byte order mark", "\xEF\xBB\xBF" + good, "byte 0", "byte order mark");
  ExpectRefused("text behind", good + "x", fmt::format("byte {}", good.size()), "not valid JSON");
  ExpectRefused("not UTF-8", Replaced(good, "<think>", "<\xFFhink>"), "byte", "not valid UTF-8");
  ExpectRefused("lone surrogate", Replaced(good, "<think>", "\\ud800"), "byte", "not valid JSON");
  ExpectRefused("control character", Replaced(good, "<think>", "\x01"), "byte", "not valid JSON");
  ExpectRefused("NUL", std::string(100, '\0'), "byte 0", "not valid JSON");
  ExpectRefused("comment", "// tokenizer\n" + good, "byte", "not valid JSON");
  ExpectRefused("another type", "[]", "", "is a list, expected an object");
  ExpectRefused("a number", "7", "", "is 7, expected an object");
}

TEST(TokenizerFile, RefusesDeepNestingNamingTheByte) {
  const std::string lists(5000, '[');
  ExpectRefused("lists", lists, "byte 64", "nested deeper than 64 levels");
  ExpectRefused("closed lists", lists + std::string(5000, ']'), "byte 64", "nested deeper than 64 levels");
  std::string normalizer, ends;
  for (int i = 0; i < 5000; ++i) normalizer += R"({"type":"Sequence","normalizers":[)", ends += "]}";
  normalizer += R"({"type":"NFC"})" + ends;
  ExpectRefused("sequences", Replaced(SmallTokenizer().dump(), R"({"type":"NFC"})", normalizer), "byte",
                "nested deeper than 64 levels");
}

TEST(TokenizerFile, RefusesKeysThatAreThereTwice) {
  const std::string good = SmallTokenizer().dump();
  ExpectRefused("top", Replaced(good, R"("normalizer":)", R"("decoder":null,"normalizer":)"), "",
                "key 'decoder' is there twice");
  ExpectRefused("model", Replaced(good, R"("dropout":)", R"("vocab":{},"dropout":)"), "key 'model'",
                "key 'vocab' is there twice");
  ExpectRefused("added token", Replaced(good, R"("special":true)", R"("special":true,"id":5)"),
                "key 'added_tokens[0]'", "key 'id' is there twice");
  ExpectRefused("vocabulary", Replaced(good, R"("b":)", R"("a":300,"b":)"), "key 'model.vocab': token 'a'",
                "is there twice");
  ExpectRefused("vocabulary, escaped", Replaced(good, R"("b":)", R"("\u0061":300,"b":)"),
                "key 'model.vocab': token 'a'", "is there twice");
}

TEST(TokenizerFile, RefusesComponentsByName) {
  const auto set = [](const char* pointer, Json value) {
    return [=](Json& json) { json[Json::json_pointer(pointer)] = value; };
  };
  const Json sequence = {{"type", "Sequence"}, {"normalizers", Json::array()}};
  const Json digits = {{"type", "Digits"}, {"individual_digits", false}};
  ExpectAllRefused({
      {"model", set("/model/type", "Unigram"), "key 'model.type'", "is \"Unigram\", expected \"BPE\""},
      {"no model type", [](Json& j) { j["model"].erase("type"); }, "key 'model'", "has no key 'type'"},
      {"model type number", set("/model/type", 3), "key 'model.type'", "is 3, expected a string"},
      {"no model", [](Json& j) { j.erase("model"); }, "", "has no key 'model'"},
      {"normalizer", set("/normalizer/type", "NFKC"), "key 'normalizer.type'", "\"NFKC\""},
      {"normalizer sequence", set("/normalizer", sequence), "key 'normalizer.type'", "\"Sequence\""},
      {"normalizer string", set("/normalizer", "NFC"), "key 'normalizer'", "expected an object"},
      {"pre-tokenizer", set("/pre_tokenizer/type", "Metaspace"), "key 'pre_tokenizer.type'", "\"Metaspace\""},
      {"no pre-tokenizer", set("/pre_tokenizer", nullptr), "key 'pre_tokenizer'", "is null"},
      {"part", set("/pre_tokenizer/pretokenizers/0/type", "Whitespace"),
       "key 'pre_tokenizer.pretokenizers[0].type'", "\"Whitespace\""},
      {"last part", set("/pre_tokenizer/pretokenizers/1/type", "Metaspace"),
       "key 'pre_tokenizer.pretokenizers[1].type'", "\"Metaspace\", expected \"ByteLevel\""},
      {"one part", [](Json& j) { j["pre_tokenizer"]["pretokenizers"].erase(1); },
       "key 'pre_tokenizer.pretokenizers'", "has 1 parts"},
      {"two splits", set("/pre_tokenizer/pretokenizers/1/use_regex", true),
       "key 'pre_tokenizer.pretokenizers[1]'", "use_regex is true, expected false"},
      {"no split", set("/pre_tokenizer", Json{{"type", "ByteLevel"}, {"use_regex", false}}),
       "key 'pre_tokenizer.use_regex'", "is false"},
      {"grouped digits", set("/pre_tokenizer/pretokenizers/0", digits),
       "key 'pre_tokenizer.pretokenizers[0].individual_digits'", "is false, expected true"},
      {"prefix space", set("/pre_tokenizer/pretokenizers/1/add_prefix_space", true), "add_prefix_space'",
       "is true, expected false"},
      {"decoder", set("/decoder/type", "WordPiece"), "key 'decoder.type'", "\"WordPiece\""},
      {"no decoder", set("/decoder", nullptr), "key 'decoder'", "is null"},
      {"post-processor", set("/post_processor", Json{{"type", "BertProcessing"}}),
       "key 'post_processor.type'", "\"BertProcessing\""},
      {"dropout", set("/model/dropout", 0.1), "key 'model.dropout'", "is 0.1, expected null"},
      {"unknown token", set("/model/unk_token", "<unk>"), "key 'model.unk_token'", "\"<unk>\""},
      {"byte fallback", set("/model/byte_fallback", true), "key 'model.byte_fallback'", "is true"},
      {"prefix", set("/model/continuing_subword_prefix", "##"), "key 'model.continuing_subword_prefix'",
       "\"##\""},
      {"suffix", set("/model/end_of_word_suffix", "</w>"), "key 'model.end_of_word_suffix'", "\"</w>\""},
      {"ignore_merges", set("/model/ignore_merges", 1), "key 'model.ignore_merges'",
       "is 1, expected true or false"},
      {"version", set("/version", "2.0"), "key 'version'", "\"2.0\""},
  });
}

TEST(TokenizerFile, RefusesSplitPatternsItDoesNotKnow) {
  const auto pattern = [](const char* text) {
    return [=](Json& json) { json["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = text; };
  };
  constexpr const char* kPlace = "key 'pre_tokenizer.pretokenizers[0].pattern.Regex'";
  ExpectAllRefused({
      {"no regular expression", pattern("(("), kPlace, "is \"((\""},
      {"bomb of repeats", pattern("((a{0,1000}){0,1000}){0,1000}"), kPlace, "expected the pattern of Qwen2"},
      {"backtracking", pattern("(a+)+$"), kPlace, "expected the pattern of Qwen2"},
      {"empty", pattern(""), kPlace, "is \"\""},
      {"string",
       [](Json& j) {
         j["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {{"String", " "}};
       },
       "key 'pre_tokenizer.pretokenizers[0].pattern'", "has no key 'Regex'"},
      {"removed", [](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["behavior"] = "Removed"; },
       "key 'pre_tokenizer.pretokenizers[0].behavior'", "is \"Removed\", expected \"Isolated\""},
      {"inverted", [](Json& j) { j["pre_tokenizer"]["pretokenizers"][0]["invert"] = true; },
       "key 'pre_tokenizer.pretokenizers[0].invert'", "is true"},
  });
}

TEST(TokenizerFile, RefusesVocabulariesWithBadIdsNamingTheToken) {
  const auto id = [](Json value) { return [=](Json& json) { json["model"]["vocab"]["hell"] = value; }; };
  constexpr const char* kPlace = "key 'model.vocab': token 'hell'";
  constexpr const char* kExpected = "expected an integer from 0 to 4194303";
  ExpectAllRefused({
      {"twice", id(5), kPlace, "has id 5, as token 'ą' has"},
      {"negative", id(-1), kPlace, kExpected},
      {"fraction", id(1.5), kPlace, "id is 1.5"},
      {"whole fraction", id(300.0), kPlace, kExpected},
      {"string", id("7"), kPlace, "id is \"7\""},
      {"null", id(nullptr), kPlace, "id is null"},
      {"2^32 + 5", id(4294967301), kPlace, "id is 4294967301"},
      {"2^63", id(9223372036854775808u), kPlace, kExpected},
      {"over the limit", id(4194304), kPlace, "id is 4194304"},
      {"missing", [](Json& j) { j["model"].erase("vocab"); }, "key 'model'", "has no key 'vocab'"},
      {"a list", [](Json& j) { j["model"]["vocab"] = Json::array(); }, "key 'model.vocab'",
       "expected an object"},
      {"empty", [](Json& j) { j["model"]["vocab"] = Json::object(); }, "key 'model.vocab'", "is empty"},
      {"empty token", [](Json& j) { j["model"]["vocab"][""] = 300; }, "key 'model.vocab': token ''",
       "without a character"},
      {"not of the alphabet", [](Json& j) { j["model"]["vocab"]["a b"] = 300; }, "token 'a b'",
       "outside the 256"},
      {"byte a", [](Json& j) { j["model"]["vocab"].erase("a"); }, "key 'model.vocab'",
       "has no token for byte 0x61 (written 'a')"},
      {"byte of Chinese", [](Json& j) { j["model"]["vocab"].erase("ä"); }, "key 'model.vocab'",
       "has no token for byte 0xE4"},
      {"newline", [](Json& j) { j["model"]["vocab"].erase("Ċ"); }, "key 'model.vocab'",
       "has no token for byte 0x0A"},
  });
}

TEST(TokenizerFile, RefusesMergesThatMakeNoSenseNamingTheirIndex) {
  const auto add = [](Json merge) { return [=](Json& json) { json["model"]["merges"].push_back(merge); }; };
  constexpr const char* kPlace = "key 'model.merges': merge 4";
  ExpectAllRefused({
      {"unknown left", add("hel l"), kPlace, "joins 'hel' and 'l', but 'hel' is not in the vocabulary"},
      {"unknown right", add("h ell"), kPlace, "but 'ell' is not in the vocabulary"},
      {"unknown result", add("l he"), kPlace, "but 'lhe' is not in the vocabulary"},
      {"not of the alphabet", add("h \u4E2D"), kPlace, "is not in the vocabulary"},
      {"added token", add("<think> a"), kPlace, "but '<think>' is not in the vocabulary"},
      {"twice", add("l l"), kPlace, "joins 'l' and 'l', as merge 1 does"},
      {"one part", add("hell"), kPlace, "expected two parts with one space between"},
      {"three parts", add("h e l"), kPlace, "expected two parts with one space between"},
      {"no left part", add(" l"), kPlace, "is not in the vocabulary"},
      {"number", add(3), kPlace, "is 3, expected"},
      {"null", add(nullptr), kPlace, "is null, expected"},
      {"mixed", add(Json::array({"h", "ll"})), kPlace, "another notation"},
      {"missing", [](Json& j) { j["model"].erase("merges"); }, "key 'model'", "has no key 'merges'"},
      {"object", [](Json& j) { j["model"]["merges"] = Json::object(); }, "key 'model.merges'",
       "expected a list"},
  });
  const auto pairs = [](Json merge) {
    return [=](Json& json) { json["model"]["merges"] = Json::array({Json::array({"h", "e"}), merge}); };
  };
  constexpr const char* kSecond = "key 'model.merges': merge 1";
  ExpectAllRefused({
      {"pair of one", pairs(Json::array({"l"})), kSecond, "expected"},
      {"pair of three", pairs(Json::array({"l", "l", "l"})), kSecond, "has more than two parts"},
      {"pair of numbers", pairs(Json::array({1, 2})), kSecond, "expected"},
      {"empty pair", pairs(Json::array()), kSecond, "expected"},
      {"mixed", pairs("l l"), kSecond, "another notation"},
  });
}

TEST(TokenizerFile, AcceptsBothNotationsOfMerges) {
  Json json = SmallTokenizer();
  const std::vector<int32_t> ids = ParseSmall(json).Encode("hell  l");
  json["model"]["merges"] = Json::parse(R"([["h", "e"], ["l", "l"], ["he", "ll"], ["Ġ", "Ġ"]])");
  EXPECT_EQ(ParseSmall(json).Encode("hell  l"), ids);
}

TEST(TokenizerFile, RefusesAddedTokensThatContradictNamingThem) {
  const auto first = [](const char* key, Json value) {
    return [=](Json& json) { json["added_tokens"][0][key] = value; };
  };
  const auto without = [](const char* key) {
    return [=](Json& json) { json["added_tokens"][0].erase(key); };
  };
  ExpectAllRefused({
      {"empty", first("content", ""), "key 'added_tokens[0].content'", "is \"\", expected the text"},
      {"no text", without("content"), "key 'added_tokens[0]'", "has no key 'content'"},
      {"no id", without("id"), "key 'added_tokens[0]'", "has no key 'id'"},
      {"negative", first("id", -1), "key 'added_tokens[0].id'",
       "is -1, expected an integer from 0 to 4194303"},
      {"outside", first("id", 4194304), "key 'added_tokens[0].id'", "is 4194304"},
      {"2^32 + 5", first("id", 4294967301), "key 'added_tokens[0].id'", "is 4294967301"},
      {"string", first("id", "7"), "key 'added_tokens[0].id'", "is \"7\""},
      {"id of a token", first("id", 258), "key 'added_tokens': token '<|end|>'",
       "has id 258, which is token 'hell' of model.vocab"},
      {"id of another", first("id", 261), "key 'added_tokens[1].id'", "another id than entry 0"},
      {"text of another", first("content", "<think>"), "key 'added_tokens[1].content'",
       "another text than entry 0"},
      {"text of a token", first("content", "hell"), "key 'added_tokens': token 'hell'",
       "has id 260, but id 258 in model.vocab"},
      {"single_word", first("single_word", true), "key 'added_tokens[0].single_word'",
       "is true, expected false"},
      {"lstrip", first("lstrip", true), "key 'added_tokens[0].lstrip'", "is true"},
      {"rstrip", first("rstrip", true), "key 'added_tokens[0].rstrip'", "is true"},
      {"special", first("special", "yes"), "key 'added_tokens[0].special'", "expected true or false"},
      {"id of a byte",
       [](Json& j) {
         j["model"]["vocab"]["<a b>"] = 5;
         j["added_tokens"][0] = {{"id", 5}, {"content", "<a b>"}};
       },
       "key 'model.vocab': token '<a b>'", "has id 5, as token 'ą' has"},
      {"no list", [](Json& j) { j["added_tokens"] = "none"; }, "key 'added_tokens'", "expected a list"},
      {"no object", [](Json& j) { j["added_tokens"] = {1}; }, "key 'added_tokens[0]'", "expected an object"},
  });
}

TEST(TokenizerFile, AcceptsAddedTokensOfTheVocabulary) {
  Json json = SmallTokenizer();
  json["added_tokens"][0] = {{"id", 258}, {"content", "hell"}, {"special", true}};
  json["model"]["vocab"]["<a b>"] = 300;  // outside the alphabet, but added with the same id
  json["added_tokens"].push_back({{"id", 300}, {"content", "<a b>"}});
  const Tokenizer tokenizer = ParseSmall(json);
  EXPECT_EQ(tokenizer.Encode("ahellb<a b>"), (std::vector<int32_t>{'a', 258, 'b', 300}));
  EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{258, 300}), "hell<a b>");
  EXPECT_EQ(tokenizer.Decode(std::vector<int32_t>{258, 300}, true), "<a b>");
}

Json Template(Json single, Json ids) {
  const Json bos = {{"id", "<s>"}, {"ids", ids}, {"tokens", {"<s>"}}};
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", Json::array()},
          {"special_tokens", {{"<s>", bos}}}};
}

const Json kBos = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
const Json kText = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};

TEST(TokenizerFile, PutsTheTokensOfATemplateAroundTheText) {
  Json json = SmallTokenizer();
  const Json byte_level = {{"type", "ByteLevel"}};
  json["post_processor"] = {{"type", "Sequence"},
                            {"processors", {byte_level, Template({kBos, kText, kBos}, {260})}}};
  const Tokenizer tokenizer = ParseSmall(json);
  EXPECT_EQ(tokenizer.Encode("a"), (std::vector<int32_t>{260, 'a', 260}));
  EXPECT_EQ(tokenizer.Encode("a", false), (std::vector<int32_t>{'a'}));
  EXPECT_EQ(tokenizer.Encode("<|end|>a"), (std::vector<int32_t>{260, 260, 'a', 260}));
}

TEST(TokenizerFile, RefusesTemplatesItCannotFollow) {
  const auto post = [](Json value) { return [=](Json& json) { json["post_processor"] = value; }; };
  const Json other = {{"Sequence", {{"id", "B"}, {"type_id", 0}}}};
  const Json good = Template({kBos, kText}, {260});
  ExpectAllRefused({
      {"unknown id", post(Template({kBos, kText}, {500})), "key 'post_processor.special_tokens.<s>.ids[0]'",
       "is 500"},
      {"no text", post(Template({kBos}, {260})), "key 'post_processor.single'",
       "expected special tokens and one"},
      {"text twice", post(Template({kText, kText}, {260})), "key 'post_processor.single[1].Sequence.id'",
       "is \"A\""},
      {"second text", post(Template({kBos, other}, {260})), "key 'post_processor.single[1].Sequence.id'",
       "is \"B\""},
      {"two templates", post(Json{{"type", "Sequence"}, {"processors", {good, good}}}),
       "key 'post_processor.processors[1].type'", "one \"TemplateProcessing\""},
      {"undefined token",
       [&](Json& j) {
         j["post_processor"] = good;
         j["post_processor"]["special_tokens"] = Json::object();
       },
       "key 'post_processor.special_tokens'", "has no key '<s>'"},
  });
}

// Cutting a valid file anywhere, or changing any one byte of it, gives an Error or a tokenizer, never a
// crash.
TEST(TokenizerFile, SurvivesCutsAndChangedBytes) {
  const std::string good = SmallTokenizer().dump();
  std::mt19937 rng(1);
  for (int i = 0; i < 1500; ++i) {
    std::string text = good;
    if (i % 3 == 0) {
      text.resize(rng() % text.size());
    } else {
      text[rng() % text.size()] = i % 3 == 1 ? static_cast<char>(rng()) : "{}[],:\"\\0-1"[rng() % 11];
    }
    try {
      const Tokenizer tokenizer = Tokenizer::Parse(text, Place("tokenizer.json"));
      EXPECT_EQ(tokenizer.Encode("hell").empty(), false);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kContent) << error.what();
      EXPECT_EQ(error.place().file(), "tokenizer.json");
    }
  }
}

}  // namespace
}  // namespace lowbit
