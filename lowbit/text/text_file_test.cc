// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/text_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "lowbit/base/test_folder.h"

namespace lowbit {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

// "LINE:VALUE" of every object {"v": VALUE}, the same through a file and through a stream.
std::vector<std::string> ReadLines(const std::string& content, JsonLineLimits limits = {}) {
  std::vector<std::string> from_file, from_stream;
  const TestFolder folder;
  const auto into = [](std::vector<std::string>& out) {
    return [&out](size_t line, const Json& object) {
      out.push_back(std::to_string(line) + ":" + object["v"].dump());
    };
  };
  ForEachJsonLine(folder.Write("x.jsonl", content), into(from_file), limits);
  std::istringstream stream(content);
  ForEachJsonLine(stream, "stdin", into(from_stream), limits);
  EXPECT_EQ(from_file, from_stream);
  return from_file;
}

TEST(JsonLines, AcceptsEveryUsualLineEnd) {
  EXPECT_THAT(ReadLines(R"({"v":1})"
                        "\n"
                        R"({"v":2})"
                        "\n"),
              ElementsAre("1:1", "2:2"));
  EXPECT_THAT(ReadLines("{\"v\":1}\r\n{\"v\":2}\r\n"), ElementsAre("1:1", "2:2"));
  EXPECT_THAT(ReadLines("{\"v\":1}\n{\"v\":2}"), ElementsAre("1:1", "2:2"));
  EXPECT_THAT(ReadLines("{\"v\":1}\r"), ElementsAre("1:1"));
}

TEST(JsonLines, AcceptsAByteOrderMarkAndEmptyLinesButCountsThem) {
  EXPECT_THAT(ReadLines("\xEF\xBB\xBF{\"v\":1}\n"), ElementsAre("1:1"));
  EXPECT_THAT(ReadLines("\xEF\xBB\xBF{\"v\":1}\n\xEF\xBB\xBF{\"v\":2}\n"), ElementsAre("1:1", "2:2"));
  EXPECT_THAT(ReadLines("\n\r\n \t\n{\"v\":1}\n\n"), ElementsAre("4:1"));
  EXPECT_THAT(ReadLines(""), IsEmpty());
  EXPECT_THAT(ReadLines("\xEF\xBB\xBF"), IsEmpty());
}

TEST(JsonLines, ReadsLinesLongerThanAnyBuffer) {
  // Around the size of the stream's buffer, where a line may end exactly with it.
  for (size_t length = 65522; length < 65532; ++length) {
    const std::string value(length, 'x');
    EXPECT_THAT(ReadLines("{\"v\":\"" + value + "\"}\n{\"v\":2}\n"),
                ElementsAre("1:\"" + value + "\"", "2:2"));
    EXPECT_THAT(ReadLines("{\"v\":\"" + value + "\"}"), ElementsAre("1:\"" + value + "\""));
  }
  const std::string value(1 << 20, 'x');
  EXPECT_THAT(ReadLines("{\"v\":\"" + value + "\"}\n"), ElementsAre("1:\"" + value + "\""));
}

struct BadLines {
  const char *name, *content, *place, *says;
};

TEST(JsonLines, RefusesEverythingElseNamingTheLine) {
  const std::string nul("{\"v\":1}\n{\"v\":\0}\n", 16);
  const std::vector<BadLines> table = {
      {"no JSON", "{\"v\":1}\nhello\n", "line 2: byte 0", "not valid JSON"},
      {"cut", "{\"v\":1}\n\n{\"v\":", "line 3: byte", "not valid JSON"},
      {"a list", "[1]\n", "line 1", "is a list, expected an object"},
      {"a string", "\"v\"\n", "line 1", "expected an object"},
      {"two objects", "{\"v\":1} {\"v\":2}\n", "line 1: byte", "not valid JSON"},
      {"one object on two lines", "{\"v\":\n1}\n", "line 1: byte", "not valid JSON"},
      {"key twice", "{\"v\":1,\"v\":2}\n", "line 1", "key 'v' is there twice"},
      {"not UTF-8", "{\"v\":1}\n{\"v\":\"\xFF\"}\n", "line 2: byte 6", "not valid UTF-8"},
      {"mark inside", "{\"v\":1}\n \xEF\xBB\xBF{\"v\":2}\n", "line 2: byte", "not valid JSON"},
  };
  const auto expect_refused = [](const std::string& name, const std::string& content,
                                 const std::string& place, const std::string& says,
                                 JsonLineLimits limits = {}) {
    SCOPED_TRACE(name);
    const TestFolder folder;
    const std::string path = folder.Write("x.jsonl", content);
    std::istringstream stream(content);
    const auto ignore = [](size_t, const Json&) {};
    for (const bool from_file : {true, false}) {
      try {
        from_file ? ForEachJsonLine(path, ignore, limits) : ForEachJsonLine(stream, "stdin", ignore, limits);
        ADD_FAILURE() << "accepted";
      } catch (const Error& error) {
        EXPECT_EQ(error.kind(), ErrorKind::kContent);
        EXPECT_EQ(error.place().file(), from_file ? path : "stdin");
        EXPECT_THAT(error.place().item(), HasSubstr(place));
        EXPECT_THAT(error.message(), HasSubstr(says));
      }
    }
  };
  for (const BadLines& row : table) expect_refused(row.name, row.content, row.place, row.says);
  expect_refused("NUL", nul, "line 2: byte 5", "not valid JSON");
  const std::string deep = "{\"v\":" + std::string(5000, '[') + std::string(5000, ']') + "}";
  expect_refused("deep", deep, "line 1", "nested deeper than 64 levels");
  const std::string two = "{\"v\":1}\n{\"v\":\"" + std::string(200000, 'x') + "\"}\n";
  expect_refused("long", two, "line 2", "is longer than 1000 bytes", {.max_line_bytes = 1000});
  expect_refused("long, without end", std::string(200000, ' '), "line 1", "is longer than 1000 bytes",
                 {.max_line_bytes = 1000});
}

// A stream of 100 MB without a line end, which counts what was taken from it.
class LongLine : public std::streambuf {
 public:
  size_t taken() const { return taken_; }

 private:
  int_type underflow() override {
    if (taken_ >= size_t{100} << 20) return traits_type::eof();
    taken_ += part_.size();
    setg(part_.data(), part_.data(), part_.data() + part_.size());
    return traits_type::to_int_type(part_[0]);
  }
  std::string part_ = std::string(1000, 'x');
  size_t taken_ = 0;
};

TEST(JsonLines, StopsReadingALineAtItsLimit) {
  LongLine line;
  std::istream stream(&line);
  EXPECT_THROW(ForEachJsonLine(stream, "stdin", [](size_t, const Json&) {}, {.max_line_bytes = 100000}),
               Error);
  EXPECT_LT(line.taken(), size_t{1} << 18);
}

TEST(JsonLines, MissingFilesAreMissing) {
  try {
    ForEachJsonLine("no/such/file.jsonl", [](size_t, const Json&) {});
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kMissing);
  }
}

TEST(RequireString, NamesTheLineAndTheKey) {
  const Json object = {{"a", "text"}, {"b", 1}, {"c", nullptr}};
  const Place place = Place("x.jsonl").Line(3);
  EXPECT_EQ(RequireString(object, "a", place), "text");
  const auto error_of = [&](const char* key) -> std::string {
    try {
      RequireString(object, key, place);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kContent);
      return error.what();
    }
    return "accepted";
  };
  EXPECT_EQ(error_of("b"), "x.jsonl: line 3: key 'b': is 1, expected a string");
  EXPECT_EQ(error_of("c"), "x.jsonl: line 3: key 'c': is null, expected a string");
  EXPECT_EQ(error_of("d"), "x.jsonl: line 3: has no key 'd'");
}

TEST(ReadTextFile, GivesTheTextWithoutItsByteOrderMark) {
  const TestFolder folder;
  EXPECT_EQ(ReadTextFile(folder.Write("a", "\xEF\xBB\xBFone\r\ntwo\n")), "one\r\ntwo\n");
  EXPECT_EQ(ReadTextFile(folder.Write("b", "")), "");
  EXPECT_EQ(ReadTextFile(folder.Write("c", "x\xEF\xBB\xBF")), "x\xEF\xBB\xBF");
}

TEST(ReadTextFile, NamesTheFirstByteThatIsNotUtf8AsItIsInTheFile) {
  const TestFolder folder;
  try {
    ReadTextFile(folder.Write("a", "\xEF\xBB\xBF\xC3\xA9\xC3"));
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kContent);
    EXPECT_THAT(error.what(), HasSubstr("byte 5: not valid UTF-8"));
  }
}

TEST(ReadTextFile, RefusesFilesOverTheLimit) {
  const TestFolder folder;
  EXPECT_EQ(ReadTextFile(folder.Write("a", "12345"), 5), "12345");
  EXPECT_THROW(ReadTextFile(folder.Write("a", "123456"), 5), Error);
}

}  // namespace
}  // namespace lowbit
