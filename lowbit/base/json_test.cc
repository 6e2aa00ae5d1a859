// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/test_folder.h"

namespace lowbit {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

Json Parse(std::string_view text) {
  return ParseJson(text, Place("f.json"));
}

std::string RefusalOf(std::string_view text, JsonLimits limits = {}) {
  try {
    ParseJson(text, Place("f.json"), limits);
    return "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    return e.what();
  }
}

TEST(ParseJson, KeepsValuesAndTheOrderOfKeys) {
  const Json json =
      Parse(R"( {"z": [1, -2, 2.5, "a\u00e9\n"], "a": {"x": null, "y": true}, "": 18446744073709551615} )");
  EXPECT_EQ(json.dump(),
            "{\"z\":[1,-2,2.5,\"a\u00e9\\n\"],\"a\":{\"x\":null,\"y\":true},\"\":18446744073709551615}");
  EXPECT_TRUE(json.at("").is_number_unsigned());
}

TEST(ParseJson, TopLevelMayBeAnyValue) {
  EXPECT_EQ(Parse("3"), 3);
  EXPECT_TRUE(Parse("null").is_null());
  EXPECT_EQ(Parse("\"x\""), "x");
}

TEST(ParseJson, IntegersBeyond64BitsAreNotTakenForIntegers) {
  EXPECT_FALSE(Parse("18446744073709551616").is_number_integer());
  EXPECT_FALSE(Parse("1208925819614629174706176").is_number_integer());
}

TEST(ParseJson, RefusalsNameTheByteOrTheKey) {
  EXPECT_THAT(RefusalOf(""), StartsWith("f.json: byte 0: not valid JSON"));
  EXPECT_THAT(RefusalOf("{\"a\" 1}"), StartsWith("f.json: byte 5: not valid JSON"));
  EXPECT_THAT(RefusalOf("{} {}"), StartsWith("f.json: byte 3: not valid JSON"));
  EXPECT_THAT(RefusalOf("[NaN]"), StartsWith("f.json: byte 1: not valid JSON"));
  EXPECT_THAT(RefusalOf("[1e400]"), HasSubstr("number 1e400 is out of range"));
  EXPECT_THAT(RefusalOf("\"\xff\""), StartsWith("f.json: byte 1: not valid UTF-8"));
  EXPECT_THAT(RefusalOf(R"({"a":1,"b":2,"\u0061":3})"), StartsWith("f.json: key 'a' is there twice"));
  EXPECT_THAT(RefusalOf(R"([{"a":{"b":1,"b":2}}])"), StartsWith("f.json: key 'b' is there twice"));
  EXPECT_THAT(RefusalOf(R"(["\ud800"])"), HasSubstr("not valid JSON"));
  EXPECT_THAT(RefusalOf("[\"a\nb\"]"), HasSubstr("not valid JSON"));
  EXPECT_THAT(RefusalOf("[1,]"), HasSubstr("not valid JSON"));
  EXPECT_THAT(RefusalOf("[01]"), HasSubstr("not valid JSON"));
}

TEST(ParseJson, EqualKeysOfDifferentObjectsAreFine) {
  EXPECT_NO_THROW(Parse(R"([{"a":1},{"a":{"a":2}}])"));
}

TEST(ParseJson, DepthIsBoundedAndNeverEndsTheStack) {
  EXPECT_EQ(RefusalOf("[[[]]]", {.max_depth = 3}), "accepted");
  EXPECT_THAT(RefusalOf("[[[[]]]]", {.max_depth = 3}), HasSubstr("nested deeper than 3 levels"));
  EXPECT_THAT(RefusalOf(std::string(1'000'000, '[')), HasSubstr("nested deeper than 64 levels"));
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"a\":";
  EXPECT_THAT(RefusalOf(objects), HasSubstr("nested deeper than 64 levels"));
}

TEST(ParseJson, SizeIsBounded) {
  EXPECT_THAT(RefusalOf("[1, 2]", {.max_bytes = 5}), HasSubstr("6 bytes of JSON, expected at most 5"));
}

TEST(ParseJson, NothingStandsBeforeOrBehindTheValue) {
  EXPECT_THAT(RefusalOf(std::string_view("{}\0", 3)),
              StartsWith("f.json: byte 2: not valid JSON: a NUL byte"));
  EXPECT_THAT(RefusalOf(std::string_view("[1]\0[2]", 7)), StartsWith("f.json: byte 3: "));
  EXPECT_THAT(RefusalOf("\xEF\xBB\xBF{}"), HasSubstr("byte order mark"));
}

TEST(ParseJson, ManyKeysTakeTimeInProportion) {
  std::string text = "{";
  for (int i = 0; i < 200'000; ++i) text += fmt::format("{}\"k{}\":{}", i == 0 ? "" : ",", i, i);
  EXPECT_EQ(Parse(text + "}").size(), 200'000u);  // a quadratic search would take minutes
}

TEST(ReadJsonFile, NamesTheFile) {
  const TestFolder folder;
  EXPECT_EQ(ReadJsonFile(folder.Write("good.json", "[1]")).size(), 1u);
  try {
    ReadJsonFile(folder.Write("bad.json", "[1"));
    ADD_FAILURE();
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), StartsWith(folder.File("bad.json") + ": byte 2: "));
  }
}

TEST(JsonPreview, IsShortAndSafeToPrint) {
  EXPECT_EQ(JsonPreview(Json(64.5)), "64.5");
  EXPECT_EQ(JsonPreview(Json("relu\n")), "\"relu\\n\"");
  EXPECT_EQ(JsonPreview(Json::array({1})), "a list");
  EXPECT_EQ(JsonPreview(Json::object()), "an object");
  EXPECT_EQ(JsonPreview(Json()), "null");
  EXPECT_LT(JsonPreview(Json(std::string(1000, 'x'))).size(), 100u);
}

}  // namespace
}  // namespace lowbit
