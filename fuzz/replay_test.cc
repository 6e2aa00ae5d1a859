// SPDX-License-Identifier: Apache-2.0
// Every input that fuzzing kept, through its target: what was found once stays found.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>

#include "fuzz/target.h"
#include "lowbit/base/files.h"

namespace lowbit::fuzz {
namespace {

namespace fs = std::filesystem;

std::map<std::string, Target, std::less<>>& Targets() {
  static std::map<std::string, Target, std::less<>> targets;
  return targets;
}

class FuzzCorpus : public testing::TestWithParam<std::string> {};

TEST_P(FuzzCorpus, Holds) {
  const fs::path folder = fs::path(LOWBIT_SOURCE_DIR) / "fuzz" / "corpus" / GetParam();
  size_t inputs = 0;
  testing::internal::CaptureStderr();  // warnings about hundreds of files that nobody shall read
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    ++inputs;
    try {
      Targets().at(GetParam())(ReadFile(entry.path().string()));
    } catch (const std::exception& e) {
      ADD_FAILURE() << entry.path() << ": " << e.what();
    }
  }
  testing::internal::GetCapturedStderr();
  EXPECT_GT(inputs, 0u);
  std::printf("%zu inputs\n", inputs);
}

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const auto& [name, target] : Targets()) names.push_back(name);
  return names;
}

INSTANTIATE_TEST_SUITE_P(Targets, FuzzCorpus, testing::ValuesIn(Names()),
                         [](const auto& test) { return test.param; });

}  // namespace

int Register(std::string_view name, Target target) {
  Targets().emplace(name, target);
  return 0;
}

}  // namespace lowbit::fuzz
