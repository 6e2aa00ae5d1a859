// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/multiple_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lowbit/base/json.h"
#include "lowbit/eval/mean.h"
#include "lowbit/eval/multiple_choice_task.h"

namespace lowbit {
namespace {

MultipleChoiceItem Item(const std::vector<std::string>& choices, size_t gold, size_t subset = 0) {
  MultipleChoiceItem item = ItemOf("context", choices, gold, Place("test"));
  item.subset = subset;
  return item;
}

ItemScore Hit(bool acc, bool acc_norm = false) {
  return {{}, 0, acc, acc_norm, false};
}

// testdata/eval/metrics.json: scores and texts with many characters beyond ASCII, judged by numpy as the harness
// does it.
TEST(Metrics, EqualTheHarness) {
  const Json json = ReadJsonFile(std::string(LOWBIT_TESTDATA) + "/eval/metrics.json");
  MultipleChoiceSet set{.task = "t", .source = "s", .normalizes = true};
  std::vector<ItemScore> scores;
  std::vector<double> acc_bytes;
  for (const Json& row : json.at("items")) {
    set.items.push_back(
        Item(row.at("choices").get<std::vector<std::string>>(), row.at("gold").get<size_t>()));
    scores.push_back(Judge(row.at("scores").get<std::vector<double>>(), set.items.back()));
    EXPECT_EQ(scores.back().acc ? 1.0 : 0.0, row.at("acc").get<double>()) << row.dump();
    EXPECT_EQ(scores.back().acc_norm ? 1.0 : 0.0, row.at("acc_norm").get<double>()) << row.dump();
    EXPECT_EQ(scores.back().acc_bytes ? 1.0 : 0.0, row.at("acc_bytes").get<double>()) << row.dump();
    acc_bytes.push_back(scores.back().acc_bytes ? 1 : 0);
  }
  std::vector<Measurement> parts;
  const std::vector<Measurement> means = MeasurementsOf(set, scores, parts);
  ASSERT_EQ(means.size(), 2u);
  for (const Measurement& m : means) {
    EXPECT_DOUBLE_EQ(m.value, json.at("aggregate").at(m.name).at("mean").get<double>()) << m.name;
    EXPECT_NEAR(*m.std_error, json.at("aggregate").at(m.name).at("stderr").get<double>(), 1e-15) << m.name;
    EXPECT_EQ(m.n, set.items.size());
    EXPECT_TRUE(m.higher_is_better);
  }
  EXPECT_TRUE(parts.empty());
  EXPECT_DOUBLE_EQ(Mean(acc_bytes), json.at("aggregate").at("acc_bytes").at("mean").get<double>());
}

TEST(Metrics, PoolSubsetsAsTheHarnessDoes) {
  const Json group = ReadJsonFile(std::string(LOWBIT_TESTDATA) + "/eval/metrics.json").at("group");
  MultipleChoiceSet set{.task = "t", .source = "s"};
  std::vector<ItemScore> scores;
  for (size_t s = 0; s < group.at("sizes").size(); ++s) {
    set.subsets.push_back({fmt::format("s{}", s), s < 2 ? "a" : "b", ""});
    const auto size = group.at("sizes")[s].get<size_t>();
    const auto hits =
        static_cast<size_t>(std::lround(group.at("acc")[s].get<double>() * static_cast<double>(size)));
    for (size_t i = 0; i < size; ++i) {
      set.items.push_back(Item({"A", "B"}, 0, s));
      scores.push_back(Hit(i < hits));
    }
  }
  std::vector<Measurement> parts;
  const std::vector<Measurement> means = MeasurementsOf(set, scores, parts);
  ASSERT_EQ(means.size(), 4u);
  EXPECT_EQ(means[0].name, "acc");
  EXPECT_DOUBLE_EQ(means[0].value, group.at("micro").get<double>());
  EXPECT_NEAR(*means[0].std_error, group.at("pooled_stderr").get<double>(), 1e-15);
  EXPECT_EQ(means[1].name, "acc_macro");
  EXPECT_DOUBLE_EQ(means[1].value, group.at("macro").get<double>());
  EXPECT_EQ(means[2].name, "acc_a");
  EXPECT_EQ(means[2].n, 164u + 99u);
  EXPECT_EQ(means[3].name, "acc_b");
  ASSERT_EQ(parts.size(), 5u);
  for (size_t s = 0; s < parts.size(); ++s) {
    EXPECT_EQ(parts[s].name, set.subsets[s].name);
    EXPECT_DOUBLE_EQ(parts[s].value, group.at("acc")[s].get<double>());
    EXPECT_NEAR(*parts[s].std_error, group.at("stderr")[s].get<double>(), 1e-15);
  }
}

TEST(Metrics, OneItemHasNoStandardError) {
  MultipleChoiceSet set{.task = "t", .source = "s", .subsets = {{"a", "c", ""}, {"b", "c", ""}}};
  set.items = {Item({"A", "B"}, 0, 0), Item({"A", "B"}, 0, 1)};
  std::vector<Measurement> parts;
  const std::vector<ItemScore> scores = {Hit(true), Hit(false)};
  const std::vector<Measurement> means = MeasurementsOf(set, scores, parts);
  EXPECT_EQ(means[0].value, 0.5);
  EXPECT_FALSE(means[0].std_error.has_value());
  EXPECT_FALSE(parts[0].std_error.has_value());
}

TEST(Judge, GivesTiesToTheLowestIndex) {
  EXPECT_TRUE(Judge({-2, -1, -1}, Item({"a", "b", "c"}, 1)).acc);
  EXPECT_FALSE(Judge({-2, -1, -1}, Item({"a", "b", "c"}, 2)).acc);
  EXPECT_TRUE(Judge({-4, -2}, Item({"aa", "b"}, 0)).acc_norm);
  EXPECT_FALSE(Judge({-4, -2}, Item({"aa", "b"}, 1)).acc_norm);
}

TEST(Items, RefuseAnEmptyChoice) {
  try {
    Item({"a", ""}, 0);
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), testing::HasSubstr("test: choice 1 is empty"));
  }
}

TEST(Items, AreLimitedSubsetBySubset) {
  MultipleChoiceSet set{.task = "t", .source = "s", .subsets = {{"a", "c", ""}, {"b", "c", ""}}};
  for (const size_t subset : {0, 0, 0, 1, 1, 1, 1}) set.items.push_back(Item({"A", "B"}, 0, subset));
  LimitItems(set, 0);
  EXPECT_EQ(set.items.size(), 7u);
  LimitItems(set, 2);
  ASSERT_EQ(set.items.size(), 4u);
  EXPECT_EQ(set.items[2].subset, 1u);
}

// One request where the context is shared; one a choice where contexts differ. Scores find their way back.
TEST(Items, BecomeRequestsAndScoresComeBackInOrder) {
  const Tokenizer tokenizer = Tokenizer::Load(std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3");
  MultipleChoiceSet set{.task = "t", .source = "s"};
  set.items = {Item({"one", "two", "three"}, 1)};
  MultipleChoiceItem blank;
  blank.contexts = {"The cat", "The dog"};
  blank.continuations = {" sat down."};
  blank.lengths = {{7, 7}, {7, 7}};
  blank.gold = 1;
  set.items.push_back(blank);
  const std::vector<ContinuationRequest> requests = RequestsOf(tokenizer, set, {}, 64);
  ASSERT_EQ(requests.size(), 3u);
  EXPECT_EQ(requests[0].continuations.size(), 3u);
  EXPECT_EQ(requests[0].context, tokenizer.Encode("context"));
  EXPECT_EQ(requests[2].context, tokenizer.Encode("The dog"));
  EXPECT_EQ(requests[1].continuations, requests[2].continuations);
  EXPECT_EQ(requests[2].max_length, 64u);
  const std::vector<std::vector<ContinuationScore>> scores = {{{-3}, {-1}, {-2}}, {{-7}}, {{-6}}};
  const std::vector<ItemScore> judged = JudgeItems(set, scores);
  ASSERT_EQ(judged.size(), 2u);
  EXPECT_EQ(judged[0].log_likelihoods, (std::vector<double>{-3, -1, -2}));
  EXPECT_TRUE(judged[0].acc);
  EXPECT_EQ(judged[1].log_likelihoods, (std::vector<double>{-7, -6}));
  EXPECT_TRUE(judged[1].acc);
}

// Three short examples in front of one question.
class FittedPrompt : public testing::Test {
 protected:
  FittedPrompt() {
    set_.subsets.push_back({"physics", "stem", "head"});
    set_.subsets[0].prefix_ends.push_back(4);
    for (const char* example : {" one", " two", " three"}) {
      set_.subsets[0].prefix += example;
      set_.subsets[0].prefix_ends.push_back(set_.subsets[0].prefix.size());
    }
    const std::vector<std::string> letters = {"A", "B"};
    set_.items.push_back(ItemOf("\nAnswer:", letters, 0, Place("test"), ""));
  }
  size_t TokensWith(size_t shots) const {
    return tokenizer_.Encode(ContextOf(set_, set_.items[0], 0, shots)).size();
  }

  Tokenizer tokenizer_ = Tokenizer::Load(std::string(LOWBIT_TESTDATA) + "/tokenizers/qwen3_tokenizer.json");
  MultipleChoiceSet set_{.task = "t", .source = "s", .shots = 3, .max_prompt = 100};
};

TEST_F(FittedPrompt, LosesItsLastExamplesUntilItFits) {
  ASSERT_GT(TokensWith(3), TokensWith(2));
  ASSERT_GT(TokensWith(1), TokensWith(0));
  for (size_t shots = 0; shots <= 3; ++shots) {
    set_.max_prompt = TokensWith(shots);
    EXPECT_EQ(ShotsOf(tokenizer_, set_, set_.items[0], {}), shots);
    const std::vector<TokenPair> pairs = EncodeItem(tokenizer_, set_, set_.items[0], {});
    ASSERT_EQ(pairs.size(), 2u);
    EXPECT_EQ(pairs[0].context, tokenizer_.Encode(ContextOf(set_, set_.items[0], 0, shots)));
    EXPECT_EQ(pairs[1].context, pairs[0].context);
  }
  EXPECT_EQ(ContextOf(set_, set_.items[0], 0, 1), "head one\nAnswer:");
  set_.max_prompt = TokensWith(0) - 1;
  try {
    EncodeItem(tokenizer_, set_, set_.items[0], {});
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    EXPECT_THAT(e.what(), testing::HasSubstr("subject physics: a question of "));
  }
}

// With a letter right behind it, "Answer:" may become other tokens: the context must not.
TEST_F(FittedPrompt, HasLettersThatAreTokensByThemselves) {
  const std::vector<TokenPair> pairs = EncodeItem(tokenizer_, set_, set_.items[0], {});
  for (size_t i = 0; i < 2; ++i) {
    const std::string letter(1, "AB"[i]);
    EXPECT_EQ(pairs[i].continuation, tokenizer_.Encode(letter));
    EXPECT_EQ(pairs[i].continuation.size(), 1u);
  }
  const std::vector<ContinuationRequest> requests = RequestsOf(tokenizer_, set_, {}, 1000);
  ASSERT_EQ(requests.size(), 1u);
  EXPECT_EQ(requests[0].continuations.size(), 2u);
}

TEST_F(FittedPrompt, IsToldInTheProtocol) {
  const std::string model = std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3";
  const Threads threads(2);
  const auto source = OpenModel(model);
  const auto backend = MakeBackend("cpu", "f32", threads);
  const Decoder decoder(*source, *backend);
  const Tokenizer tokenizer = Tokenizer::Load(model);
  set_.asked_by = "a test";
  set_.max_prompt = tokenizer.Encode(ContextOf(set_, set_.items[0], 0, 2)).size();
  set_.items.push_back(set_.items[0]);
  set_.items.back().contexts[0] = ":";
  const TaskResult result = MakeMultipleChoiceTask(set_, {})->Run(Scorer(decoder), tokenizer, nullptr);
  EXPECT_THAT(result.protocol, testing::StartsWith("multiple choice as a test asks it, s: 2 of 0 items"));
  EXPECT_THAT(
      result.protocol,
      testing::HasSubstr(fmt::format(
          "3-shot, no BOS (--bos auto), prompts of at most {} tokens (1 items with fewer examples), at "
          "most 1024 tokens; acc by log-likelihood",
          set_.max_prompt)));
}

}  // namespace
}  // namespace lowbit
