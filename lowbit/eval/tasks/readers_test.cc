// SPDX-License-Identifier: Apache-2.0
// Rendering is held against testdata/eval/prompts.jsonl, made with lm-evaluation-harness's own templates and
// functions; reading against both layouts of each data set.
#include "lowbit/eval/tasks/readers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "lowbit/base/test_folder.h"
#include "lowbit/eval/data_files.h"
#include "lowbit/text/archive_testing.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

TaskOptions In(const TestFolder& folder, std::optional<size_t> shots = std::nullopt) {
  return {.data_folder = folder.path(), .shots = shots};
}

std::string Write(const TestFolder& folder, const std::string& name, std::string_view content) {
  std::filesystem::create_directories(std::filesystem::path(folder.File(name)).parent_path());
  return folder.Write(name, content);
}

struct Known {
  const char* task;
  const char* file;
  MultipleChoiceSet (*read)(const TaskOptions&);
};

constexpr Known kKnown[] = {{"piqa", "piqa/valid.jsonl", &ReadPiqa},
                            {"arc", "arc_easy/test.jsonl", &ReadArcEasy},
                            {"arc", "arc_challenge/ARC-Challenge-Test.jsonl", &ReadArcChallenge},
                            {"hellaswag", "hellaswag/hellaswag_val.jsonl", &ReadHellaSwag},
                            {"winogrande", "winogrande/dev.jsonl", &ReadWinoGrande},
                            {"boolq", "boolq/validation.jsonl", &ReadBoolQ}};

std::vector<Json> Golden(const std::string& task) {
  std::vector<Json> rows;
  ForEachJsonLine(std::string(LOWBIT_TESTDATA) + "/eval/prompts.jsonl", [&](size_t, const Json& row) {
    if (row.at("task") == task) rows.push_back(row);
  });
  return rows;
}

void ExpectRendered(const MultipleChoiceSet& set, const MultipleChoiceItem& item, const Json& want) {
  const Json& requests = want.at("requests");
  ASSERT_EQ(item.lengths.size(), requests.size()) << want.dump();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(ContextOf(set, item, i), requests[i][0].get<std::string>());
    EXPECT_EQ(ContinuationOf(item, i), requests[i][1].get<std::string>());
    EXPECT_EQ(item.lengths[i].characters, want.at("choice_chars")[i].get<size_t>()) << want.dump();
    EXPECT_EQ(item.lengths[i].bytes, want.at("choice_bytes")[i].get<size_t>()) << want.dump();
  }
  EXPECT_EQ(item.gold, want.at("gold").get<size_t>()) << want.dump();
}

class RenderingTest : public testing::TestWithParam<Known> {};

TEST_P(RenderingTest, EqualsTheHarness) {
  const std::vector<Json> golden = Golden(GetParam().task);
  ASSERT_FALSE(golden.empty());
  std::string lines;
  for (const Json& row : golden) lines += row.at("doc").dump() + "\n";
  for (const Compression compression : {Compression::kNone, Compression::kGzip, Compression::kZstd}) {
    const TestFolder folder;
    const char* end = compression == Compression::kNone   ? ""
                      : compression == Compression::kGzip ? ".gz"
                                                          : ".zst";
    Write(folder, std::string(GetParam().file) + end,
          compression == Compression::kNone ? lines : text_testing::Compressed(lines, compression));
    const MultipleChoiceSet set = GetParam().read(In(folder));
    ASSERT_EQ(set.items.size(), golden.size());
    for (size_t i = 0; i < golden.size(); ++i) ExpectRendered(set, set.items[i], golden[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, RenderingTest, testing::ValuesIn(kKnown));

// Quoted, as Python's csv module would write it.
std::string CsvRow(const Json& doc) {
  std::string row;
  const auto add = [&](const std::string& field) {
    row += (row.empty() ? "\"" : ",\"");
    for (const char c : field) row += c == '"' ? std::string("\"\"") : std::string(1, c);
    row += '"';
  };
  add(doc.at("question").get<std::string>());
  for (const Json& choice : doc.at("choices")) add(choice.get<std::string>());
  add(std::string(1, "ABCD"[doc.at("answer").get<size_t>()]));
  return row + "\r\n";
}

TEST(Mmlu, RendersHeaderExamplesAndQuestionAsTheHarnessDoes) {
  for (const Json& row : Golden("mmlu")) {
    const TestFolder folder;
    const auto subject = row.at("doc").at("subject").get<std::string>();
    std::string dev;
    for (const Json& doc : row.at("dev")) dev += CsvRow(doc);
    Write(folder, "mmlu/dev/" + subject + "_dev.csv", dev);
    Write(folder, "mmlu/test/" + subject + "_test.csv", CsvRow(row.at("doc")));
    const MultipleChoiceSet set = ReadMmlu(In(folder, 5));
    ASSERT_EQ(set.items.size(), 1u);
    ASSERT_EQ(set.subsets.size(), 1u);
    EXPECT_EQ(set.subsets[0].name, subject);
    ExpectRendered(set, set.items[0], row);

    const auto full = row.at("requests")[0][0].get<std::string>();
    const MultipleChoiceSet bare = ReadMmlu(In(folder));  // the header is there without examples too
    const std::string header = full.substr(0, full.find("\n\n") + 2);
    EXPECT_THAT(ContextOf(bare, bare.items[0], 0), testing::StartsWith(header));
    EXPECT_EQ(ContextOf(bare, bare.items[0], 0), header + bare.items[0].contexts[0]);
    const MultipleChoiceSet two = ReadMmlu(In(folder, 2));
    EXPECT_TRUE(full.starts_with(two.subsets[0].prefix));
    EXPECT_LT(two.subsets[0].prefix.size(), set.subsets[0].prefix.size());
    EXPECT_NE(set.data_hash, bare.data_hash);  // the examples are data too
  }
}

TEST(Mmlu, HasSubjectsInFourCategoriesAndRefusesOthers) {
  const TestFolder folder;
  for (const char* subject : {"anatomy", "virology", "sociology", "prehistory"})
    Write(folder, fmt::format("mmlu/test/{}_test.csv", subject), "q,1,2,3,4,C\nr,1,2,3,4,A\n");
  const MultipleChoiceSet set = ReadMmlu(In(folder));
  ASSERT_EQ(set.subsets.size(), 4u);
  EXPECT_EQ(set.subsets[0].category, "stem");
  EXPECT_EQ(set.subsets[1].category, "other");
  EXPECT_EQ(set.subsets[2].category, "social_sciences");
  EXPECT_EQ(set.subsets[3].category, "humanities");
  EXPECT_EQ(set.items.size(), 8u);
  EXPECT_EQ(set.items[2].subset, 1u);
  EXPECT_EQ(set.items[0].gold, 2u);
  Write(folder, "mmlu/test/anatomie_test.csv", "q,1,2,3,4,C\n");
  EXPECT_THROW(ReadMmlu(In(folder)), Error);
}

// The official layouts where they differ from those of prompts.jsonl.
TEST(Layouts, OfficialOnesGiveTheSame) {
  const TestFolder folder;
  Write(folder, "piqa/valid.jsonl",
        "{\"goal\":\"g\",\"sol1\":\"a\",\"sol2\":\"b\"}\n{\"goal\":\"h\",\"sol1\":\"a\",\"sol2\":\"b\"}\n");
  Write(folder, "piqa/valid-labels.lst", "1\r\n0\n");
  const MultipleChoiceSet piqa = ReadPiqa(In(folder));
  EXPECT_EQ(piqa.items[0].gold, 1u);
  EXPECT_EQ(piqa.items[1].gold, 0u);
  Write(
      folder, "arc_easy/ARC-Easy-Test.jsonl",
      R"({"id":"x","question":{"stem":"Q","choices":[{"text":"a","label":"1"},{"text":"b","label":"2"},{"text":"c","label":"3"}]},"answerKey":"3"})");
  const MultipleChoiceSet arc = ReadArcEasy(In(folder));
  ASSERT_EQ(arc.items.size(), 1u);
  EXPECT_EQ(arc.items[0].contexts[0], "Question: Q\nAnswer:");
  EXPECT_EQ(arc.items[0].continuations, (std::vector<std::string>{" a", " b", " c"}));
  EXPECT_EQ(arc.items[0].gold, 2u);
  Write(folder, "boolq/dev.jsonl", R"({"question":"q","title":"T","answer":true,"passage":"p"})");
  EXPECT_EQ(ReadBoolQ(In(folder)).items[0].gold, 1u);
  EXPECT_EQ(ReadBoolQ(In(folder)).items[0].contexts[0], "p\nQuestion: q?\nAnswer:");
}

struct Bad {
  const char* file;
  std::string content;
  const char* message;
};

const std::string kPiqa = R"({"goal":"g","sol1":"a","sol2":"b","label":0})";

std::vector<Bad> BadFiles() {
  const std::string archive = text_testing::Gzip(kPiqa + "\n" + kPiqa + "\n");
  return {
      {"piqa/valid.jsonl", "", "piqa/valid.jsonl: holds no items"},
      {"piqa/valid.jsonl", kPiqa + "\n{\"goal\":\"g\",\"sol1\":\"a\",\"label\":0}\n",
       "line 2: has no key 'sol2'"},
      {"piqa/valid.jsonl", R"({"goal":"g","sol1":"a","sol2":"b"})", "line 1: has no key 'label'"},
      {"piqa/valid.jsonl", R"({"goal":"g","sol1":"a","sol2":"b","label":2})",
       "line 1: key 'label': is 2, expected an integer from 0 to 1"},
      {"piqa/valid.jsonl", R"({"goal":"g","sol1":"a","sol2":"b","label":null})", "key 'label': is null"},
      {"piqa/valid.jsonl", R"({"goal":7,"sol1":"a","sol2":"b","label":0})",
       "key 'goal': is 7, expected a string"},
      {"piqa/valid.jsonl", R"({"goal":"g","sol1":"","sol2":"b","label":0})", "line 1: choice 0 is empty"},
      {"piqa/valid.jsonl", kPiqa + "\n[1]\n", "line 2: is "},
      {"piqa/valid.jsonl", kPiqa + kPiqa, "line 1"},
      {"piqa/valid.jsonl", "{\"goal\":\"caf\xE9\",\"sol1\":\"a\",\"sol2\":\"b\",\"label\":0}", "line 1"},
      {"piqa/valid.jsonl", "{\"goal\":\"" + std::string(10 << 20, 'x') + "\"}",
       "line 1: is longer than 1048576"},
      {"piqa/valid.jsonl.gz", archive.substr(0, archive.size() / 2), "piqa/valid.jsonl.gz: byte"},
      {"piqa/valid.jsonl.gz", kPiqa, "piqa/valid.jsonl.gz"},
      {"arc_easy/test.jsonl",
       R"({"question":"q","choices":{"text":["a","b"],"label":["A","B"]},"answerKey":"C"})",
       "line 1: key 'answerKey': is 'C', expected one of the labels A, B"},
      {"arc_easy/test.jsonl",
       R"({"question":"q","choices":{"text":["a","b"],"label":["A","A"]},"answerKey":"A"})",
       "key 'answerKey'"},
      {"arc_easy/test.jsonl",
       R"({"question":"q","choices":{"text":["a"],"label":["A","B"]},"answerKey":"A"})",
       "key 'choices': has 1 texts and 2 labels"},
      {"arc_easy/test.jsonl", R"({"question":{"stem":"q","choices":["a"]},"answerKey":"A"})",
       "key 'question': key 'choices': holds \"a\", expected objects"},
      {"arc_easy/test.jsonl", R"({"question":"q","choices":["a"],"answerKey":"A"})", "key 'choices': is "},
      {"hellaswag/validation.jsonl",
       R"({"activity_label":"a","ctx_a":"b","ctx_b":"c","endings":["1","2","3"],"label":0})",
       "key 'endings': holds 3, expected 4"},
      {"hellaswag/validation.jsonl",
       R"({"activity_label":"a","ctx_a":"b","ctx_b":"c","endings":["1","2","3",4],"label":0})",
       "key 'endings': holds 4, expected a list of strings"},
      {"hellaswag/validation.jsonl",
       R"({"activity_label":"a","ctx_a":"b","ctx_b":"c","endings":["1","2","3","4"],"label":""})",
       "key 'label': is \"\", expected an integer from 0 to 3"},
      {"hellaswag/validation.jsonl",
       R"({"activity_label":"a","ctx_a":"b","ctx_b":"c","endings":["1","[x]","3","4"],"label":"0"})",
       "line 1: choice 1 is empty"},
      {"winogrande/dev.jsonl", R"({"sentence":"no blank","option1":"a","option2":"b","answer":"1"})",
       "key 'sentence': has no '_'"},
      {"winogrande/dev.jsonl", R"({"sentence":"blank _","option1":"a","option2":"b","answer":"1"})",
       "key 'sentence': ends with its blank"},
      {"winogrande/dev.jsonl", R"({"sentence":"a _ b","option1":"a","option2":"b","answer":"0"})",
       "key 'answer': is \"0\", expected an integer from 1 to 2"},
      {"boolq/dev.jsonl", R"({"passage":"p","question":"q"})", "neither a key 'answer' nor a key 'label'"},
      {"boolq/dev.jsonl", R"({"passage":"p","question":"q","answer":"yes"})", "key 'answer': is \"yes\""},
      {"mmlu/test/anatomy_test.csv", "", "anatomy_test.csv: holds no questions"},
      {"mmlu/test/anatomy_test.csv", "q,1,2,3,4,A\nq,1,2,3,4,E\n", "line 2: field 6: is 'E'"},
      {"mmlu/test/anatomy_test.csv", "q,1,2,3,4,A\n\"q,1,2,3,4,A\n", "line 2: a quote is opened"},
      {"mmlu/test/anatomy_test.csv", "q,1,2,3,4\n", "line 1: has 5 fields, expected 6"},
      {"mmlu/test/anatomy_test.csv", "q,1,2,,4,A\nq,\xFF,2,3,4,A\n", "byte 13: not valid UTF-8"},
      {"mmlu/test/anatomie_test.csv", "q,1,2,3,4,A\n", "none of MMLU's 57 subjects"},
  };
}

class BadFileTest : public testing::TestWithParam<Bad> {};

TEST_P(BadFileTest, IsAnErrorWithFileLineAndField) {
  const TestFolder folder;
  Write(folder, GetParam().file, GetParam().content);
  const std::string name = std::string(GetParam().file).substr(0, std::string(GetParam().file).find('/'));
  try {
    MakeTask(name, In(folder));
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(ExitCode(e.kind()), 3) << e.what();
    EXPECT_THAT(e.what(), testing::StartsWith(folder.path()));
    EXPECT_THAT(e.what(), HasSubstr(GetParam().message));
  }
}

INSTANTIATE_TEST_SUITE_P(Tasks, BadFileTest, testing::ValuesIn(BadFiles()));

TEST(Labels, MustBeAsManyAsItemsAndAgree) {
  const auto error_of = [](const std::string& labels, const std::string& row) {
    const TestFolder folder;
    Write(folder, "piqa/valid.jsonl", row + "\n");
    Write(folder, "piqa/valid-labels.lst", labels);
    try {
      ReadPiqa(In(folder));
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kContent);
      return std::string(e.what());
    }
    return std::string("none");
  };
  const std::string bare = R"({"goal":"g","sol1":"a","sol2":"b"})";
  EXPECT_EQ(error_of("1\n", bare), "none");
  EXPECT_EQ(error_of("0\n", kPiqa), "none");
  EXPECT_THAT(error_of("1\n", kPiqa), HasSubstr("key 'label': is not that of"));
  EXPECT_THAT(error_of("", bare), HasSubstr("holds 0 labels"));
  EXPECT_THAT(error_of("1\n0\n", bare), HasSubstr("holds 2 labels for 1 items"));
  EXPECT_THAT(error_of("1\nx\n", bare), HasSubstr("line 2: is 'x', expected 0 or 1"));
}

TEST(DataFiles, TwoFilesOfOneSetAreRefusedAndNoneIsMissing) {
  const TestFolder folder;
  TaskOptions options = In(folder);
  Write(folder, "boolq/dev.jsonl", R"({"passage":"p","question":"q","answer":true})");
  EXPECT_EQ(ReadBoolQ(options).items.size(), 1u);
  Write(folder, "boolq/dev.jsonl.gz", text_testing::Gzip("{}"));
  try {
    ReadBoolQ(options);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("stands beside"));
  }
  const std::array<std::string_view, 1> nowhere = {"nowhere/x.jsonl"};
  try {
    FindDataFile(nowhere, options);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kMissing);
    EXPECT_THAT(e.what(), HasSubstr(folder.path()));
  }
}

TEST(Options, ThatATaskHasNoUseForAreRefused) {
  const TestFolder folder;
  Write(folder, "piqa/valid.jsonl", kPiqa);
  TaskOptions options = In(folder, 5);
  try {
    ReadPiqa(options);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kUsage);
    EXPECT_THAT(e.what(), HasSubstr("--num-fewshot 5"));
  }
  std::vector<std::unique_ptr<Task>> tasks;
  tasks.push_back(MakeTask("piqa", In(folder, 0)));
  EXPECT_NO_THROW(RequireUsed({.limit = 3}, tasks));
  EXPECT_THROW(RequireUsed({.window = 512}, tasks), Error);
  EXPECT_THROW(RequireUsed({.windows = 5}, tasks), Error);
  Write(folder, "note.txt", "a text");
  tasks.clear();
  tasks.push_back(MakeTask("text:" + folder.File("note.txt"), {}));
  EXPECT_NO_THROW(RequireUsed({.window = 512}, tasks));
  EXPECT_THROW(RequireUsed({.limit = 3}, tasks), Error);
  EXPECT_THROW(RequireUsed({.shots = 0}, tasks), Error);
  EXPECT_THROW(RequireUsed({.bos = BosRule::kOff}, tasks), Error);
}

// format_subject, format_example and gen_prompt of the study's evaluate_hf.py, by hand.
TEST(MmluStudy, RendersAsTheStudyDoes) {
  const TestFolder folder;
  Write(folder, "mmlu/test/high_school_physics_test.csv", "\" q? \",1,2,3,4,C\n");
  Write(folder, "mmlu/dev/high_school_physics_dev.csv", "d0,a,b,c,d,B\nd1,e,f,g,h,A\nd2,i,j,k,l,D\n");
  const MultipleChoiceSet set = ReadMmluStudy(In(folder, 2));
  ASSERT_EQ(set.items.size(), 1u);
  const std::string header =
      "The following are multiple choice questions (with answers) about  high school physics.\n\n";
  const std::string first = "d0\nA. a\nB. b\nC. c\nD. d\nAnswer: B\n\n";
  const std::string second = "d1\nA. e\nB. f\nC. g\nD. h\nAnswer: A\n\n";
  const std::string own = " q? \nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:";
  EXPECT_EQ(ContextOf(set, set.items[0], 0), header + first + second + own);
  EXPECT_EQ(ContextOf(set, set.items[0], 0, 1), header + first + own);
  EXPECT_EQ(ContextOf(set, set.items[0], 0, 0), header + own);
  EXPECT_EQ(set.items[0].continuations, (std::vector<std::string>{"A", "B", "C", "D"}));
  EXPECT_EQ(set.items[0].gold, 2u);
  EXPECT_EQ(set.max_prompt, 2048u);
  EXPECT_THROW(ReadMmluStudy(In(folder)), Error);  // five examples unless told
  EXPECT_EQ(ReadMmlu(In(folder)).max_prompt, 0u);
}

TEST(Mmlu, NeedsAsManyExamplesAsAreAskedFor) {
  const TestFolder folder;
  Write(folder, "mmlu/test/anatomy_test.csv", "q,1,2,3,4,A\n");
  EXPECT_THROW(ReadMmlu(In(folder, 1)), Error);  // no dev file
  Write(folder, "mmlu/dev/anatomy_dev.csv", "q,1,2,3,4,A\n");
  EXPECT_NO_THROW(ReadMmlu(In(folder, 1)));
  try {
    ReadMmlu(In(folder, 2));
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("holds 1 examples of anatomy, fewer than --num-fewshot 2"));
  }
}

TEST(DataFiles, OfAnotherFolderThanTheNamedOneAreSaidToBe) {
  const TestFolder named, other;
  Write(other, "piqa/valid.jsonl", kPiqa);
  Write(other, "mmlu/test/anatomy_test.csv", "q,1,2,3,4,A\n");
  const char* before = std::getenv("LOWBIT_DATA");
  const std::string kept = before == nullptr ? "" : before;
  setenv("LOWBIT_DATA", other.path().c_str(), 1);
  testing::internal::CaptureStderr();
  EXPECT_EQ(ReadPiqa(In(named)).items.size(), 1u);
  EXPECT_EQ(ReadMmlu(In(named)).items.size(), 1u);
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, HasSubstr(named.path() + " has no such data, taken: " + other.File("piqa/valid.jsonl")));
  EXPECT_THAT(said, HasSubstr(other.File("mmlu")));
  testing::internal::CaptureStderr();
  ReadPiqa(In(other));
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  setenv("LOWBIT_DATA", kept.c_str(), 1);
}

// What ships with the program: the tasks' own files, whole.
TEST(Shipped, SlicesHoldFortyItemsOfEachTask) {
  const TaskOptions options{.data_folder = std::string(LOWBIT_SOURCE_DIR) + "/data", .shots = 0};
  for (const char* task : {"piqa", "arc_easy", "arc_challenge", "hellaswag", "winogrande", "boolq", "mmlu"}) {
    const std::unique_ptr<Task> made = MakeTask(task, options);
    EXPECT_EQ(made->Choices()->items.size(), 40u) << task;
    EXPECT_EQ(made->Name(), task);
    EXPECT_EQ(made->DataHash().size(), 64u);
  }
  EXPECT_EQ(ReadMmlu({.data_folder = options.data_folder, .shots = 5}).subsets.size(), 5u);
}

}  // namespace
}  // namespace lowbit
