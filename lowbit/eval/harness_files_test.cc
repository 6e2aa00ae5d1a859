// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/harness_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "lowbit/base/test_folder.h"
#include "lowbit/eval/harness_reader.h"
#include "lowbit/eval/multiple_choice_task.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr const char* kDate = "2026-01-31T12:34:56Z";

// A set with its scores, as a task's Run makes them.
struct Measured {
  MultipleChoiceSet set;
  TaskResult result;
};

Measured Run(MultipleChoiceSet set, const std::vector<std::vector<double>>& scores) {
  Measured m{std::move(set), {}};
  LimitItems(m.set, 0);
  std::vector<std::vector<ContinuationScore>> by_request;
  for (const std::vector<double>& of_item : scores) {
    for (size_t c = 0; c < of_item.size(); ++c) {
      if (c == 0 || m.set.items[0].contexts.size() > 1) by_request.emplace_back();
      by_request.back().push_back({of_item[c], c == 0});
    }
  }
  m.result.task = m.set.task;
  m.result.protocol = "protocol of " + m.set.task;
  m.result.data_hash = "hash";
  m.result.items = JudgeItems(m.set, by_request);
  m.result.measurements = MeasurementsOf(m.set, m.result.items, m.result.parts);
  return m;
}

MultipleChoiceItem Item(const std::string& context, size_t gold, size_t subset = 0) {
  const std::vector<std::string> choices = {"no", "yes indeed"};
  MultipleChoiceItem item = ItemOf(context, choices, gold, Place("test"));
  item.subset = subset;
  return item;
}

Measured Piqa() {
  MultipleChoiceSet set{.task = "piqa", .source = "PIQA", .normalizes = true};
  set.items = {Item("Question: a \"quoted\" one\nAnswer:", 1), Item("Question: é\nAnswer:", 0)};
  return Run(std::move(set), {{-1.0 / 3, -1.5}, {-7, -6.125}});
}

Measured Mmlu() {
  MultipleChoiceSet set{.task = "mmlu", .source = "MMLU", .shots = 5};
  set.subsets = {{"anatomy", "stem", "About anatomy.\n\n"},
                 {"astronomy", "stem", "About astronomy.\n\n"},
                 {"sociology", "social_sciences", "About sociology.\n\n"}};
  set.items = {Item("q0", 0, 0), Item("q1", 1, 0), Item("q2", 0, 1), Item("q3", 1, 2)};
  return Run(std::move(set), {{-1, -2}, {-1, -2}, {-3, -2}, {-3, -2}});
}

TaskResult Text() {
  TaskResult result;
  result.task = "wikitext2";
  result.protocol = "p";
  result.data_hash = "h";
  result.measurements = {{"perplexity", 20.5, 0.25, 4094, false}};
  result.windows = {{3.0, 1}, {3.04, 1}};
  return result;
}

const HarnessRun kRun{
    .model = "models/Qwen3 0.6B", .compute = "f32", .bos = "auto", .max_length = 2048, .limit = 2};

// Writes tasks one after the other. Returns the path of the results.
std::string Written(const std::string& output_path, const std::string& date,
                    const std::vector<HarnessTask>& tasks, bool samples) {
  HarnessWriter writer(output_path, date, kRun, samples);
  for (const HarnessTask& task : tasks) writer.Add(task);
  return writer.path();
}

Json ResultsOf(const std::vector<HarnessTask>& tasks) {
  const TestFolder folder;
  return ReadJsonFile(Written(folder.path(), kDate, tasks, false));
}

TEST(HarnessFiles, MetricsStandUnderTheHarnesssNames) {
  const Measured piqa = Piqa();
  const TaskResult text = Text();
  const std::vector<HarnessTask> tasks = {{piqa.result, &piqa.set}, {text}};
  const Json json = ResultsOf(tasks);
  const Json& of_piqa = json.at("results").at("piqa");
  EXPECT_EQ(of_piqa.at("acc,none"), 0.0);
  EXPECT_EQ(of_piqa.at("acc_norm,none"), 0.5) << "\"yes indeed\" is longer";
  EXPECT_EQ(of_piqa.at("acc_norm_stderr,none"), 0.5);
  EXPECT_EQ(of_piqa.at("sample_len"), 2);
  EXPECT_EQ(json.at("results").at("wikitext2").at("perplexity,none"), 20.5);
  EXPECT_EQ(json.at("results").at("wikitext2").at("perplexity_stderr,none"), 0.25);
  EXPECT_EQ(json.at("n-shot").at("piqa"), 0);
  EXPECT_EQ(json.at("versions").at("piqa"), 1.0);
  EXPECT_TRUE(json.at("higher_is_better").at("piqa").at("acc_norm"));
  EXPECT_FALSE(json.at("higher_is_better").at("wikitext2").at("perplexity"));
  EXPECT_EQ(json.at("n-samples").at("piqa").at("effective"), 2);
  EXPECT_EQ(json.at("config").at("limit"), 2);
  EXPECT_EQ(json.at("model_name_sanitized"), "models__Qwen3 0.6B");
  EXPECT_EQ(json.at("lowbit").at("protocols").at("piqa"), "protocol of piqa");
  EXPECT_FALSE(json.contains("groups"));
}

TEST(HarnessFiles, SubjectsAreTasksBelowTheirGroups) {
  const Measured mmlu = Mmlu();
  const std::vector<HarnessTask> tasks = {{mmlu.result, &mmlu.set}};
  const Json json = ResultsOf(tasks);
  EXPECT_EQ(json.at("results").at("mmlu_anatomy").at("acc,none"), 0.5);
  EXPECT_EQ(json.at("results").at("mmlu_astronomy").at("acc_stderr,none"), "N/A") << "of one item";
  EXPECT_EQ(json.at("groups").at("mmlu_stem").at("sample_len"), 3);
  EXPECT_EQ(json.at("groups").at("mmlu_social_sciences").at("alias"), "social sciences");
  EXPECT_EQ(json.at("groups").at("mmlu").at("acc,none"), 0.5);
  EXPECT_EQ(json.at("group_subtasks").at("mmlu"), Json({"mmlu_stem", "mmlu_social_sciences"}));
  EXPECT_EQ(json.at("group_subtasks").at("mmlu_stem"), Json({"mmlu_anatomy", "mmlu_astronomy"}));
  EXPECT_EQ(json.at("n-shot").at("mmlu_sociology"), 5);
  EXPECT_EQ(json.at("n-samples").at("mmlu_anatomy").at("original"), 2);
}

// Lines of lm-evaluation-harness 0.4.13: their members and types.
TEST(HarnessFiles, SamplesHaveTheHarnesssMembers) {
  const Measured mmlu = Mmlu();
  std::vector<HarnessSamples> samples;
  ForEachSamples({mmlu.result, &mmlu.set},
                 [&](const HarnessSamples& of_file) { samples.push_back(of_file); });
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[0].task, "mmlu_anatomy");
  ASSERT_EQ(samples[0].lines.size(), 2u);
  const Json& line = samples[0].lines[1];
  EXPECT_EQ(line.at("doc_id"), 1);
  EXPECT_EQ(line.at("target"), "1");
  EXPECT_EQ(line.at("arguments").at("gen_args_1"),
            (Json{{"arg_0", "About anatomy.\n\nq1"}, {"arg_1", " yes indeed"}}));
  EXPECT_EQ(line.at("resps"), Json::parse(R"([[["-1", "True"]], [["-2", "False"]]])"));
  EXPECT_EQ(line.at("filtered_resps"), Json::parse(R"([["-1", "True"], ["-2", "False"]])"));
  EXPECT_EQ(line.at("filter"), "none");
  EXPECT_EQ(line.at("metrics"), Json({"acc"}));
  EXPECT_EQ(line.at("acc"), 0.0);
  // SHA-256 of the context of the first choice, as the harness takes it.
  EXPECT_EQ(line.at("target_hash"), "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b");
}

TEST(HarnessFiles, WhatWasWrittenIsReadBackToTheLastBit) {
  const TestFolder folder;
  const Measured piqa = Piqa(), mmlu = Mmlu();
  const TaskResult text = Text();
  const std::vector<HarnessTask> tasks = {{piqa.result, &piqa.set}, {mmlu.result, &mmlu.set}, {text}};
  const std::string path = Written(folder.path(), kDate, tasks, true);
  EXPECT_EQ(path, folder.path() + "/models__Qwen3 0.6B/results_2026-01-31T12-34-56Z.json");
  for (const std::string& from : {path, folder.path(), fs::path(path).parent_path().string()}) {
    const HarnessRunFiles run = ReadHarnessFiles(from);
    EXPECT_EQ(run.model, kRun.model);
    ASSERT_EQ(run.tasks.size(), 3u);
    Outcomes expected = OutcomesOf(piqa.result);
    for (Answer& answer : expected.answers)
      answer.gold = 0;  // the files say which choice is right in many ways
    EXPECT_EQ(run.tasks.at("piqa").outcomes, expected);
    EXPECT_EQ(run.tasks.at("mmlu").outcomes.answers.size(), 4u);
    EXPECT_EQ(run.tasks.at("mmlu").outcomes.answers[3].subset, "sociology");
    EXPECT_EQ(run.tasks.at("wikitext2").outcomes.windows, text.windows);
    EXPECT_EQ(run.tasks.at("wikitext2").metric, "perplexity");
  }
}

TEST(HarnessFiles, AFileCanBeNamedAndTheNewestCounts) {
  const TestFolder folder;
  const TaskResult text = Text();
  const std::vector<HarnessTask> tasks = {{text}};
  EXPECT_EQ(Written(folder.File("q4.json"), kDate, tasks, false),
            folder.File("q4_2026-01-31T12-34-56Z.json"));
  EXPECT_EQ(std::distance(fs::directory_iterator(folder.path()), fs::directory_iterator()), 1)
      << "no samples";
  Written(folder.path(), kDate, tasks, true);
  Written(folder.path(), "2026-02-01T00:00:00Z", tasks, true);
  EXPECT_THAT(ReadHarnessFiles(folder.path()).path, HasSubstr("2026-02-01"));
}

struct BadSamples {
  std::string name, line, text;
};

TEST(HarnessFiles, BadSamplesAreNamedByFileAndLine) {
  const std::string good =
      R"({"doc_id": 0, "filtered_resps": [["-1.5", "False"], ["-2", "True"]], "acc": 1.0})"
      "\n";
  const std::vector<BadSamples> cases = {
      {"no id", R"({"filtered_resps": [["-1", ""], ["-2", ""]], "acc": 1})", "has no key 'doc_id'"},
      {"one choice", R"({"doc_id": 1, "filtered_resps": [["-1", ""]], "acc": 1})", "two choices or more"},
      {"no number", R"({"doc_id": 1, "filtered_resps": [["-1", ""], ["x", ""]], "acc": 1})",
       "log-likelihood"},
      {"no metric", R"({"doc_id": 1, "filtered_resps": [["-1", ""], ["-2", ""]]})", "has no key 'acc'"},
      {"acc is a text", R"({"doc_id": 1, "filtered_resps": [["-1", ""], ["-2", ""]], "acc": "1"})",
       "'acc' is"},
      {"a weight of 0", R"({"doc_id": 1, "loss": 2, "weight": 0})", "'weight' is 0"},
      {"no object", "[1]", "expected"},
      {"no JSON", "{", ""}};
  for (const BadSamples& c : cases) {
    SCOPED_TRACE(c.name);
    const TestFolder folder;
    folder.Write("results_d.json", R"({"results": {}})");
    folder.Write("samples_piqa_d.jsonl", good + c.line + "\n");
    try {
      ReadHarnessFiles(folder.path());
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kContent);
      EXPECT_THAT(error.what(), HasSubstr("samples_piqa_d.jsonl: line 2"));
      EXPECT_THAT(error.what(), HasSubstr(c.text));
    }
  }
}

TEST(HarnessFiles, WhatIsMissingIsSaid) {
  const TestFolder folder;
  const auto message = [&](ErrorKind kind) -> std::string {
    try {
      ReadHarnessFiles(folder.path());
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), kind);
      return error.what();
    }
    return "no error";
  };
  EXPECT_THAT(message(ErrorKind::kMissing), HasSubstr("holds no results_*.json"));
  folder.Write("results_d.json", R"({"results": {}})");
  EXPECT_THAT(message(ErrorKind::kMissing), HasSubstr("has no samples_*_d.jsonl"));
  folder.Write("results_e.json", R"([])");
  EXPECT_THAT(message(ErrorKind::kContent), HasSubstr("results_e.json: has no 'results'"));
}

// A damaged results file may say that groups hold one another.
TEST(HarnessFiles, GroupsInACircleEnd) {
  const TestFolder folder;
  folder.Write("results_d.json", R"({"results": {}, "group_subtasks": {"a": ["b"], "b": ["a", "piqa"]}})");
  folder.Write("samples_piqa_d.jsonl",
               R"({"doc_id": 0, "filtered_resps": [["-1.5", "False"], ["-2", "True"]], "acc": 1.0})"
               "\n");
  EXPECT_EQ(ReadHarnessFiles(folder.path()).tasks.size(), 1u);
}

}  // namespace
}  // namespace lowbit
