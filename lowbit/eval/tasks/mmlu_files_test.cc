// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/tasks/mmlu_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "lowbit/base/files.h"
#include "lowbit/base/test_folder.h"
#include "lowbit/eval/tasks/readers.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

class MmluFilesTest : public testing::Test {
 protected:
  void Write(const std::string& name, const std::string& content) const {
    const fs::path path = folder_.File(name);
    MakeDirectory(path.parent_path().string());
    WriteFileAtomic(path.string(), content);
  }
  MultipleChoiceSet Read(size_t shots) const {
    return ReadMmlu({.data_folder = folder_.path(), .shots = shots});
  }
  std::string ErrorOf(size_t shots = 0) const {
    try {
      Read(shots);
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  }

  const TestFolder folder_;
};

// Everything that is asked, in order.
std::vector<std::string> Asked(const MultipleChoiceSet& set) {
  std::vector<std::string> asked;
  for (const MultipleChoiceItem& item : set.items)
    asked.push_back(fmt::format("{}{} {}", ContextOf(set, item, 0), ContinuationOf(item, 0), item.gold));
  return asked;
}

std::string HubRow(const std::string& question, const std::string& subject, int answer) {
  return fmt::format(R"({{"question":"{}","subject":"{}","choices":["1","a, b","","4"],"answer":{}}})",
                     question, subject, answer) +
         "\n";
}

TEST_F(MmluFilesTest, LayoutsAskTheSame) {
  Write("mmlu/test/anatomy_test.csv", "q1,1,\"a, b\",,4,A\nq2,1,\"a, b\",,4,D\n");
  Write("mmlu/test/virology_test.csv", "q3,1,\"a, b\",,4,C\n");
  Write("mmlu/dev/anatomy_dev.csv", "d1,1,\"a, b\",,4,B\n");
  Write("mmlu/dev/virology_dev.csv", "d2,1,\"a, b\",,4,A\n");
  const std::vector<std::string> want = Asked(Read(1));
  ASSERT_EQ(want.size(), 3u);
  EXPECT_THAT(want[2], HasSubstr("d2\nA. 1\nB. a, b\nC. \nD. 4\nAnswer: A\n\nq3"));

  fs::remove_all(folder_.File("mmlu"));
  Write("mmlu/test/anatomy_test.jsonl", HubRow("q1", "anatomy", 0) + HubRow("q2", "anatomy", 3));
  Write("mmlu/test/virology_test.jsonl", HubRow("q3", "virology", 2));
  Write("mmlu/dev/anatomy_dev.jsonl", HubRow("d1", "anatomy", 1));
  Write("mmlu/dev/virology_dev.csv", "d2,1,\"a, b\",,4,A\n");
  EXPECT_EQ(Asked(Read(1)), want);

  fs::remove_all(folder_.File("mmlu"));
  Write("mmlu/test.jsonl",
        HubRow("q1", "anatomy", 0) + HubRow("q3", "virology", 2) + HubRow("q2", "anatomy", 3));
  Write("mmlu/dev.jsonl", HubRow("d2", "virology", 0) + HubRow("d1", "anatomy", 1));
  const MultipleChoiceSet set = Read(1);
  EXPECT_EQ(Asked(set), want);
  EXPECT_NE(set.data_hash, Read(0).data_hash);  // the examples are data too
}

TEST_F(MmluFilesTest, RefusesWhatIsNoRow) {
  const auto error_of = [&](const std::string& row) {
    Write("mmlu/test.jsonl", HubRow("q", "anatomy", 1) + row + "\n");
    return ErrorOf();
  };
  EXPECT_THAT(error_of(R"({"question":"q","choices":["1","2","3","4"],"answer":0})"),
              HasSubstr("test.jsonl: line 2: has no key 'subject'"));
  EXPECT_THAT(error_of(HubRow("q", "anatomie", 1)), HasSubstr("is 'anatomie', none of MMLU's 57 subjects"));
  EXPECT_THAT(error_of(HubRow("q", "anatomy", 4)),
              HasSubstr("key 'answer': is 4, expected an integer from 0 to 3"));
  EXPECT_THAT(error_of(R"({"question":"q","subject":"anatomy","choices":["1","2","3"],"answer":0})"),
              HasSubstr("line 2: key 'choices': has 3 entries, expected 4"));
  EXPECT_THAT(error_of(R"({"question":1,"subject":"anatomy","choices":["1","2","3","4"],"answer":0})"),
              HasSubstr("line 2: key 'question'"));
}

TEST_F(MmluFilesTest, NeedsOneLayoutAndItsExamples) {
  Write("mmlu/test.jsonl", HubRow("q", "anatomy", 1));
  EXPECT_THAT(ErrorOf(1), HasSubstr("mmlu/dev.jsonl: has no examples of anatomy"));
  Write("mmlu/dev.jsonl", HubRow("d", "virology", 1));
  EXPECT_THAT(ErrorOf(1), HasSubstr("mmlu/dev.jsonl: has no examples of anatomy"));
  Write("mmlu/dev.jsonl", HubRow("d", "anatomy", 1));
  EXPECT_THAT(ErrorOf(2), HasSubstr("holds 1 examples of anatomy, fewer than --num-fewshot 2"));
  Write("mmlu/test/anatomy_test.csv", "q,1,2,3,4,A\n");
  EXPECT_THAT(ErrorOf(), HasSubstr("stands beside"));
  fs::remove(folder_.File("mmlu/test.jsonl"));
  EXPECT_EQ(ErrorOf(), "no error");
  Write("mmlu/test/anatomy_test.jsonl.gz", "");
  EXPECT_THAT(ErrorOf(), HasSubstr("stands beside"));
  fs::remove(folder_.File("mmlu/test/anatomy_test.jsonl.gz"));
  Write("mmlu/test/anatomie_test.jsonl", HubRow("q", "anatomy", 1));
  EXPECT_THAT(ErrorOf(), HasSubstr("is none of MMLU's 57 subjects"));
}

}  // namespace
}  // namespace lowbit
