// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/study_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/error.h"

namespace lowbit {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// A study with these recipes, from line 4 on.
StudyFile Study(const std::string& recipes) {
  const std::string text = "study: s\nmodels: [m]\ntasks: [wikitext2]\nrecipes:" + recipes +
                           "\ncalibration: {file: /texts/a.txt, samples: 2, length: 8}\n";
  return ParseStudyFile(text, "study.yaml", [](const StudyTask&) {});
}

TEST(StudyTasks, MultipleChoiceHasKeysOfItsOwn) {
  const auto read = [](const std::string& task, const TaskCheck& check) {
    return ParseStudyFile("study: s\nmodels: [m]\nrecipes: [full]\ntasks:\n  - " + task + "\n", "study.yaml",
                          check);
  };
  const auto unchecked = [](const StudyTask&) {};
  const StudyFile study = read("{task: mmlu, num_fewshot: 5, limit: 20, bos: off}", unchecked);
  EXPECT_EQ(study.tasks[0].options.shots, 5u);
  EXPECT_EQ(study.tasks[0].options.limit, 20u);
  EXPECT_EQ(study.tasks[0].options.bos, BosRule::kOff);
  EXPECT_EQ(read("{task: mmlu, num_fewshot: 0}", unchecked).tasks[0].options.shots, 0u);
  EXPECT_EQ(read("piqa", unchecked).tasks[0].options.shots, std::nullopt);
  const auto refusal = [&](const std::string& task) {
    try {
      read(task, &RequireTask);
    } catch (const Error& e) {
      EXPECT_EQ(e.kind(), ErrorKind::kContent) << e.what();
      return std::string(e.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(refusal("{task: piqa, bos: maybe}"), HasSubstr("'maybe', expected auto, on or off"));
  const std::string text = "text:" + std::string(LOWBIT_SOURCE_DIR) + "/data/README.md";
  EXPECT_THAT(refusal("{task: '" + text + "', limit: 5}"), HasSubstr("line 5"));
  EXPECT_THAT(refusal("{task: '" + text + "', limit: 5}"), HasSubstr("a limit is for multiple-choice tasks"));
}

std::vector<std::string> RecipesOf(const StudyFile& study) {
  std::vector<std::string> texts;
  for (const Recipe& recipe : study.recipes) texts.push_back(recipe.Text());
  return texts;
}

std::string Refusal(const std::string& recipes) {
  try {
    Study(recipes);
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent) << e.what();
    return e.what();
  }
  return "no error";
}

TEST(StudyRecipes, AGridIsWrittenOutTheLastKeyFirst) {
  EXPECT_THAT(
      RecipesOf(Study(" [full, {methods: [rtn, gptq], bits: [4, 3], groups: [channel, 64]}, awq-w4-g64]")),
      ElementsAre("full", "rtn-w4-channel", "rtn-w4-g64", "rtn-w3-channel", "rtn-w3-g64", "gptq-w4-channel",
                  "gptq-w4-g64", "gptq-w3-channel", "gptq-w3-g64", "awq-w4-g64"));
}

TEST(StudyRecipes, AGridTakesOptionsOfMethodsAndOfAllAndOneValueWithoutAList) {
  EXPECT_THAT(
      RecipesOf(Study("\n- methods: [awq+gptq, 'gptq:act_order=true', gptq@study]\n  bits: 3\n"
                      "  groups: 64\n  symmetric: false\n  options: ['', 'range=hdiag']\n"
                      "- {methods: rtn, bits: 8, groups: channel, symmetric: [false, true]}\n"
                      "- {methods: gptq, bits: 4, activations: [none, 8, 4], groups: 64}")),
      ElementsAre("awq+gptq-w3-g64", "awq+gptq-w3-g64:range=hdiag", "gptq-w3-g64:act_order=true",
                  "gptq-w3-g64:act_order=true,range=hdiag", "gptq-w3-g64:act_order=true,fresh_range=false",
                  "gptq-w3-g64:act_order=true,fresh_range=false,range=hdiag", "rtn-w8-channel",
                  "rtn-w8-channel-sym", "gptq-w4-g64", "gptq-w4a8-g64", "gptq-w4a4-g64"));
}

TEST(StudyRecipes, WhatTheGrammarRefusesIsAnErrorOrLeftOutWithItsReason) {
  const std::string grid = "methods: [rtn, gptq], bits: [2, 1], groups: [64], options: ['', range=mse]";
  EXPECT_THAT(Refusal("\n- full\n- {" + grid + "}"),
              AllOf(HasSubstr("line 6"), HasSubstr("rtn-w1-g64:range=mse"),
                    HasSubstr("1 bit has its own levels"), HasSubstr("skip_refused: true")));
  const StudyFile study = Study(" [{" + grid + ", skip_refused: true}]");
  EXPECT_THAT(RecipesOf(study), ElementsAre("rtn-w2-g64", "rtn-w2-g64:range=mse", "rtn-w1-g64", "gptq-w2-g64",
                                            "gptq-w2-g64:range=mse"));
  EXPECT_THAT(
      study.left_out,
      ElementsAre(HasSubstr("rtn-w1-g64:range=mse: found 'range=mse', expected range=minmax beside w1"),
                  "gptq-w1-g64: found 'w1', expected bits, w2 to w8",
                  "gptq-w1-g64:range=mse: found 'w1', expected bits, w2 to w8"));
}

TEST(StudyRecipes, AValueThatIsInNoRecipeIsAnErrorNotLeftOut) {
  EXPECT_THAT(Refusal("\n- methods: [rtn]\n  bits: [4]\n  groups: [64]\n  options:\n  - ''\n  - rnge=mse\n"
                      "  skip_refused: true"),
              AllOf(HasSubstr("line 10"), HasSubstr("every recipe with options is left out"),
                    HasSubstr("'rnge=mse'")));
  EXPECT_THAT(Refusal(" [{methods: [rtn, gptq], bits: [9, 4], groups: 64, skip_refused: true}]"),
              HasSubstr("every recipe with bits"));
}

TEST(StudyRecipes, OneRecipeTwiceNamesBothAndTheFirstLine) {
  EXPECT_THAT(
      Refusal("\n- gptq-w4-g128:act_order=true\n- {methods: [gptq@study], bits: [3, 4], groups: [128]}"),
      AllOf(HasSubstr("line 6"), HasSubstr("'gptq@study-w4-g128' is there twice"),
            HasSubstr("first as 'gptq-w4-g128:act_order=true' in line 5")));
  EXPECT_THAT(Refusal(" [{methods: rtn, bits: [4, 4], groups: 64}]"), HasSubstr("twice"));
}

TEST(StudyRecipes, RefusesGridsThatCannotBeRead) {
  const std::pair<const char*, const char*> bad[] = {
      {" [{methods: rtn, bits: 4}]", "key 'groups' is missing"},
      {" [{methods: rtn, bits: 4, group: 64}]", "key 'group' is not known here"},
      {" [{methods: rtn-w4-g64, bits: 4, groups: 64}]", "expected a method as gptq"},
      {" [{methods: [], bits: 4, groups: 64}]", "an empty list"},
      {" [{methods: {rtn: 1}, bits: 4, groups: 64}]", "a map, expected a list"},
      {" [{methods: rtn, bits: w4, groups: 64}]", "'w4', expected an integer"},
      {" [{methods: rtn, bits: 4, groups: g64}]", "'g64', expected an integer"},
      {" [{methods: rtn, bits: 4, groups: 64, symmetric: yes}]", "'yes', expected true or false"},
      {" [{methods: rtn, bits: 4, groups: 64, options: [~]}]", "nothing, expected a word"},
      {" [{methods: rtn, bits: 4, groups: 64, skip_refused: 1}]", "'1', expected true or false"},
      {" [{methods: full, bits: 4, groups: 64}]", "nothing after full"},
      {" [{recipe: rtn-w4-g64, bits: 4}]", "key 'bits' is not known here, expected one of recipe, rules"},
      {" [{rules: {tensor.q_proj: keep}}]", "key 'methods' is missing"},
  };
  for (const auto& [recipes, message] : bad) EXPECT_THAT(Refusal(recipes), HasSubstr(message)) << recipes;
  std::string groups = "1";
  for (int g = 2; g <= 1001; ++g) groups += ", " + std::to_string(g);
  EXPECT_THAT(Refusal(" [{methods: rtn, bits: 4, groups: [" + groups + "]}]"), HasSubstr("more than 1000"));
}

TEST(StudyRecipes, RulesStandBesideARecipeOrAGrid) {
  EXPECT_THAT(
      RecipesOf(Study(
          "\n- recipe: gptq-w3-g64\n  rules:\n    layers.0-3: w8-g64\n    tensor.down_proj: keep\n"
          "- {recipe: 'rtn-w3-g64:scale=f32', rules: {layers.0.mlp: w4-channel-sym}}\n"
          "- {recipe: rtn-w2-g64}\n"
          "- {methods: [rtn, gptq], bits: 3, groups: 32, options: scale=f32, rules: {layers.0: keep}}")),
      ElementsAre("gptq-w3-g64:layers.0-3=w8-g64,tensor.down_proj=keep",
                  "rtn-w3-g64:layers.0.mlp=w4-channel-sym,scale=f32", "rtn-w2-g64",
                  "rtn-w3-g32:layers.0=keep,scale=f32", "gptq-w3-g32:layers.0=keep,scale=f32"));
  const std::pair<const char*, const char*> bad[] = {
      {"{layers: w8-g64}", "'layers', expected a rule as layers.0-3"},
      {"{head: w8-g64}", "'head', expected a rule"},
      {"{'layers.0=keep,head': w8-g64}", "expected a rule"},
      {"{layers.0: 'keep,head=w8-g64'}", "expected keep, or weights as w8-g64"},
      {"{layers.0: [keep]}", "a list, expected a word"},
      {"{layers.0: keep, layers.0: keep}", "key 'layers.0' is there twice"},
      {"{layers.0: w9-g64}", "found 'w9', expected bits"},
      {"{}", "an empty map"},
      {"keep", "'keep', expected a map"},
  };
  for (const auto& [rules, message] : bad)
    EXPECT_THAT(Refusal(std::string("\n- {recipe: rtn-w3-g64, rules: ") + rules + "}"),
                AllOf(HasSubstr("line 5"), HasSubstr(message)));
}

}  // namespace
}  // namespace lowbit
