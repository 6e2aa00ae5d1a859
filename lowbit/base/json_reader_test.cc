// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/json_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "lowbit/base/json.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;
using Type = JsonReader::Type;

// Rebuilds the tree with the reader alone.
Json Read(JsonReader& reader) {
  switch (reader.Peek()) {
    case Type::kObject: {
      Json object = Json::object();
      std::string key;
      reader.BeginObject();
      while (reader.NextKey(key)) {
        const std::string name = key;
        object[name] = Read(reader);
      }
      return object;
    }
    case Type::kArray: {
      Json array = Json::array();
      reader.BeginArray();
      while (reader.NextElement()) array.push_back(Read(reader));
      return array;
    }
    case Type::kString:
      return reader.String();
    case Type::kNumber:
      return Json::parse(reader.Number(), nullptr, /*allow_exceptions=*/false);
    case Type::kBoolean: {
      const bool value = reader.Preview() == "true";
      reader.Skip();
      return value;
    }
    case Type::kNull:
      reader.Skip();
      return nullptr;
  }
  return nullptr;
}

Json ReadAll(std::string_view text) {
  JsonReader reader(text, Place("f"));
  Json json = Read(reader);
  reader.End();
  return json;
}

std::string RefusalOf(std::string_view text) {
  try {
    ReadAll(text);
    return "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    return e.what();
  }
}

TEST(JsonReader, ReadsWhatTheTreeParserReads) {
  for (const std::string_view text :
       {R"({"a":[1,2,{"b":null}],"c":"d","e":{},"f":[],"g":[[],[[]]]})",
        R"( [ true , false , null , -0 , 0 , 1e5 , -1.5E-3 , 18446744073709551615 ] )",
        R"("\"\\\/\b\f\n\r\t\u0041\u00e9\u4e2d\ud83d\ude00 caf)"
        "\u00e9\"",
        "{}", "[]", "\"\"", "0", "\t\r\n[\n]\n"}) {
    EXPECT_EQ(ReadAll(text), ParseJson(text, Place("f"))) << text;
  }
}

TEST(JsonReader, SkipLeavesTheReaderBehindTheValue) {
  JsonReader reader(R"({"a":{"x":[1,{"y":"z"}]},"b":[[],{}],"c":7})", Place("f"));
  std::string key;
  reader.BeginObject();
  while (reader.NextKey(key)) {
    if (key == "c") {
      EXPECT_EQ(reader.Number(), "7");
    } else {
      reader.Skip();
    }
  }
  reader.End();
}

TEST(JsonReader, RefusalsNameTheByteInTheFile) {
  EXPECT_THAT(RefusalOf(""), StartsWith("f: byte 0: the JSON text ends here"));
  EXPECT_THAT(RefusalOf("[1 2]"), StartsWith("f: byte 3: found '2', expected ',' or ']'"));
  EXPECT_THAT(RefusalOf("[1,]"), StartsWith("f: byte 3: found ']', expected a JSON value"));
  EXPECT_THAT(RefusalOf("[,1]"), StartsWith("f: byte 1: found ','"));
  EXPECT_THAT(RefusalOf("{1:2}"), StartsWith("f: byte 1: found '1', expected a key in quotes"));
  EXPECT_THAT(RefusalOf("{\"a\":1,}"), StartsWith("f: byte 7: found '}', expected a key"));
  EXPECT_THAT(RefusalOf("{\"a\"}"), StartsWith("f: byte 4: found '}', expected ':'"));
  EXPECT_THAT(RefusalOf("[tru]"), StartsWith("f: byte 1: found 't'"));
  EXPECT_THAT(RefusalOf("[nulll]"), StartsWith("f: byte 5: found 'l'"));
  EXPECT_THAT(RefusalOf("[1.]"), StartsWith("f: byte 3: found ']', expected a digit"));
  EXPECT_THAT(RefusalOf("[-]"), StartsWith("f: byte 2: found ']', expected a digit"));
  EXPECT_THAT(RefusalOf("[1e]"), StartsWith("f: byte 3: found ']', expected a digit"));
  EXPECT_THAT(RefusalOf("[+1]"), StartsWith("f: byte 1: found '+'"));
  EXPECT_THAT(RefusalOf("[.5]"), StartsWith("f: byte 1: found '.'"));
  EXPECT_THAT(RefusalOf("[NaN]"), StartsWith("f: byte 1: found 'N'"));
  EXPECT_THAT(RefusalOf("1 1"), StartsWith("f: byte 2: found '1', expected the end"));
  EXPECT_THAT(RefusalOf("\"\xed\xa0\x80\""), StartsWith("f: byte 1: not valid UTF-8"));
  EXPECT_THAT(RefusalOf(std::string_view("[1]\0", 4)), StartsWith("f: byte 3: found '\\x00'"));
  JsonReader later("[x", Place("f"), 100);
  later.BeginArray();
  later.NextElement();
  EXPECT_THROW(
      try { later.Peek(); } catch (const Error& e) {
        EXPECT_THAT(e.what(), StartsWith("f: byte 101: "));
        throw;
      },
      Error);
}

TEST(JsonReader, LimitsHold) {
  const auto text_of = [](size_t n, char c) { return "\"" + std::string(n, c) + "\""; };
  EXPECT_EQ(RefusalOf(text_of(JsonReader::kMaxString, 'a')), "accepted");
  EXPECT_THAT(RefusalOf(text_of(JsonReader::kMaxString + 1, 'a')), HasSubstr("more than 65535 bytes"));
  std::string escapes = "\"";
  for (size_t i = 0; i <= JsonReader::kMaxString; ++i) escapes += "\\n";
  EXPECT_THAT(RefusalOf(escapes + "\""), HasSubstr("more than 65535 bytes"));
  EXPECT_EQ(RefusalOf(std::string(JsonReader::kMaxWhiteSpace, ' ') + "1"), "accepted");
  EXPECT_THAT(RefusalOf(std::string(JsonReader::kMaxWhiteSpace + 1, ' ') + "1"), HasSubstr("white space"));
  EXPECT_EQ(RefusalOf(std::string(JsonReader::kMaxNumber, '1')), "accepted");
  EXPECT_THAT(RefusalOf(std::string(JsonReader::kMaxNumber + 1, '1')), HasSubstr("a number of more than"));
  const auto skip = [](std::string text) {
    JsonReader reader(text, Place("f"));
    reader.Skip();
    reader.End();
  };
  const auto nested = [](size_t n) { return std::string(n, '[') + std::string(n, ']'); };
  EXPECT_NO_THROW(skip(nested(JsonReader::kMaxDepth)));
  EXPECT_THROW(skip(nested(JsonReader::kMaxDepth + 1)), Error);
}

TEST(JsonReader, PreviewIsShortAndDoesNotMove) {
  const std::string text =
      R"(["abc", {"k":1}, [1,2], 1234, )" + std::string("\"") + std::string(500, 'x') + "\"]";
  JsonReader reader(text, Place("f"));
  std::vector<std::string> previews;
  reader.BeginArray();
  while (reader.NextElement()) {
    previews.push_back(reader.Preview());
    reader.Skip();
  }
  EXPECT_THAT(previews, ::testing::ElementsAre("\"abc\"", "an object", "[1,2]", "1234", HasSubstr("xxx…")));
  EXPECT_LT(previews.back().size(), 60u);
}

// Both parsers of lowbit must agree on what JSON is; only equal keys and the range of numbers make a
// difference.
TEST(JsonReader, AgreesWithTheTreeParserOnDamagedTexts) {
  const std::string good = R"({"a":[1,-2.5e3,"\u0041\n",true],"b":{"c":null,"d":[[],{}]},"e":"caf)"
                           "\u00e9\"}";
  const std::string alphabet = "{}[]\",:\\u0019aeE+-.tfn \n\x80\xc3\xff";
  std::mt19937 rng(7);
  size_t accepted = 0;
  for (int i = 0; i < 5'000; ++i) {
    std::string text = good;
    for (int edits = 1 + static_cast<int>(rng() % 3); edits > 0; --edits) {
      const size_t at = rng() % text.size();
      const char c = alphabet[rng() % alphabet.size()];
      switch (rng() % 3) {
        case 0:
          text[at] = c;
          break;
        case 1:
          text.insert(at, 1, c);
          break;
        default:
          text.erase(at, 1);
      }
    }
    std::string tree = "accepted";
    try {
      ParseJson(text, Place("f"));
    } catch (const Error& e) {
      tree = e.what();
    }
    if (tree.find("twice") != std::string::npos || tree.find("out of range") != std::string::npos) continue;
    const std::string reader = RefusalOf(text);
    ASSERT_EQ(tree == "accepted", reader == "accepted") << text << "\n" << tree << "\n" << reader;
    accepted += tree == "accepted" ? 1 : 0;
  }
  EXPECT_GT(accepted, 100u) << "the test must see both outcomes";
}

TEST(ParseUnsigned, TakesDigitsOnlyAndChecksTheRange) {
  EXPECT_EQ(ParseUnsigned("0"), 0u);
  EXPECT_EQ(ParseUnsigned("18446744073709551615"), 18446744073709551615u);
  for (const std::string_view text :
       {"", "-0", "-1", "+1", "1.0", "1e2", "18446744073709551616", " 1", "1 ", "0x1"}) {
    EXPECT_EQ(ParseUnsigned(text), std::nullopt) << text;
  }
}

}  // namespace
}  // namespace lowbit
