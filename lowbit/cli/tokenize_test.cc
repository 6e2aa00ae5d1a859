// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <iostream>
#include <sstream>
#include <vector>

#include "lowbit/base/error.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/cli/commands.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

const std::string kTokenizer = LOWBIT_TESTDATA "/tokenizers/llama3style_tokenizer.json";

// What `lowbit tokenize ARGUMENTS` prints when it reads `input`.
std::string Tokenize(const std::string& arguments, const std::string& input) {
  CLI::App app;
  AddTokenizeCommand(app);
  std::istringstream in(input);
  std::ostringstream out;
  std::streambuf* const real_in = std::cin.rdbuf(in.rdbuf());
  std::streambuf* const real_out = std::cout.rdbuf(out.rdbuf());
  const auto restore = [&] {
    std::cin.rdbuf(real_in);
    std::cout.rdbuf(real_out);
    std::cin.clear();
  };
  try {
    app.parse("tokenize " + arguments);
  } catch (...) {
    restore();
    throw;
  }
  restore();
  return out.str();
}

TEST(TokenizeCommand, WritesTheIdsOfEveryLine) {
  const std::string input = "{\"text\":\"Hello\",\"id\":1}\r\n\n{\"text\":\"\"}";
  EXPECT_EQ(Tokenize("--model " + kTokenizer, input), "{\"ids\":[30019,9707]}\n{\"ids\":[30019]}\n");
  EXPECT_EQ(Tokenize("--model " + kTokenizer + " --no-special", input), "{\"ids\":[9707]}\n{\"ids\":[]}\n");
}

TEST(TokenizeCommand, DecodesWhatItWrote) {
  const std::string ids = "{\"ids\":[30019,9707]}\n";
  EXPECT_EQ(Tokenize("-m " + kTokenizer + " --decode", ids), "{\"text\":\"<|begin_of_text|>Hello\"}\n");
  EXPECT_EQ(Tokenize("-m " + kTokenizer + " --decode --skip-special", ids), "{\"text\":\"Hello\"}\n");
  EXPECT_EQ(Tokenize("-m " + kTokenizer + " --decode --no-special", ids), "{\"text\":\"Hello\"}\n");
  EXPECT_EQ(Tokenize("-m " + kTokenizer + " --decode", "{\"ids\":[160,2147483647]}"),
            "{\"text\":\"\uFFFD\"}\n");
}

TEST(TokenizeCommand, ReadsAFileOrAFolder) {
  const TestFolder folder;
  folder.Write("tokenizer.json", ReadFile(kTokenizer));
  const std::string lines = folder.Write("lines.jsonl", "{\"text\":\"Hello\"}\n");
  EXPECT_EQ(Tokenize("--model " + folder.path() + " " + lines, ""), "{\"ids\":[30019,9707]}\n");
}

TEST(TokenizeCommand, NamesTheLineOfAMistake) {
  const std::vector<std::array<std::string, 3>> table = {
      {"", "{\"text\":\"a\"}\n{\"text\":5}\n", "stdin: line 2: key 'text': is 5, expected a string"},
      {"", "{\"txt\":\"a\"}\n", "stdin: line 1: has no key 'text'"},
      {"", "\n[\"a\"]\n", "stdin: line 2: is a list, expected an object"},
      {"", "{\"text\":\"a\"\n", "stdin: line 1: byte"},
      {" --decode", "{\"text\":\"a\"}\n", "stdin: line 1: has no key 'ids'"},
      {" --decode", "{\"ids\":[1,-1]}\n", "stdin: line 1: key 'ids': entry 1"},
      {" --decode", "{\"ids\":[1.5]}\n", "stdin: line 1: key 'ids': entry 0"},
      {" --decode", "{\"ids\":[2147483648]}\n", "stdin: line 1: key 'ids': entry 0"},
      {" --decode", "{\"ids\":7}\n", "stdin: line 1: key 'ids'"},
  };
  for (const auto& [flags, input, says] : table) {
    SCOPED_TRACE(input);
    try {
      Tokenize("--model " + kTokenizer + flags, input);
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kContent);
      EXPECT_THAT(error.what(), HasSubstr(says));
    }
  }
}

TEST(TokenizeCommand, RefusesFlagsThatMakeNoSense) {
  EXPECT_THROW(Tokenize("", ""), CLI::RequiredError);
  EXPECT_THROW(Tokenize("--model " + kTokenizer + " --skip-special", ""), CLI::RequiresError);
}

}  // namespace
}  // namespace lowbit
