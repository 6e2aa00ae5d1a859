// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/comparison.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace lowbit {
namespace {

Answer Of(bool acc, std::optional<bool> acc_norm = std::nullopt, std::string subset = "") {
  return {std::move(subset), 1, {-1.0, -2.0}, acc, acc_norm};
}

TaskComparison Compare(const Outcomes& a, const Outcomes& b) {
  return CompareOutcomes(a, b, "perplexity", Place("results.db"));
}

TEST(Comparison, OfQuestionsEachMetric) {
  Outcomes a, b;
  for (int i = 0; i < 30; ++i) {
    a.answers.push_back(Of(true, i % 2 == 0));
    b.answers.push_back(Of(i >= 12, i % 2 == 0));
  }
  const TaskComparison c = Compare(a, b);
  ASSERT_EQ(c.metrics.size(), 2u);
  EXPECT_EQ(c.metrics[0].metric, "acc");
  EXPECT_EQ(c.metrics[0].flips, (Flips{12, 0}));
  EXPECT_EQ(c.metrics[0].Verdict(), -1);
  EXPECT_EQ(c.metrics[1].metric, "acc_norm");
  EXPECT_EQ(c.metrics[1].Verdict(), 0);
  EXPECT_TRUE(c.subsets.empty());
  EXPECT_EQ(Compare(b, a).metrics[0].Verdict(), 1);
}

TEST(Comparison, OfSubjectsEachByItself) {
  const Outcomes a{{Of(true, {}, "law"), Of(true, {}, "law"), Of(false, {}, "physics")}, {}};
  const Outcomes b{{Of(true, {}, "law"), Of(false, {}, "law"), Of(true, {}, "physics")}, {}};
  const TaskComparison c = Compare(a, b);
  ASSERT_EQ(c.metrics.size(), 1u) << "no acc_norm";
  ASSERT_EQ(c.subsets.size(), 2u);
  EXPECT_EQ(c.subsets[0].name, "law");
  EXPECT_EQ(c.subsets[0].difference.n, 2u);
  EXPECT_EQ(c.subsets[0].flips, (Flips{1, 0}));
  EXPECT_EQ(c.subsets[1].flips, (Flips{0, 1}));
}

TEST(Comparison, OfWindowsThePerplexityWhereLowerIsBetter) {
  Outcomes a, b;
  for (int i = 0; i < 20; ++i) {
    a.windows.push_back({.loss = 3 + 0.1 * i});
    b.windows.push_back({.loss = 3.2 + 0.1 * i});
  }
  const TaskComparison c = Compare(a, b);
  ASSERT_EQ(c.metrics.size(), 1u);
  EXPECT_EQ(c.metrics[0].metric, "perplexity");
  EXPECT_EQ(c.metrics[0].Verdict(), -1);
  EXPECT_FALSE(c.metrics[0].flips.has_value());
  EXPECT_TRUE(Compare({{}, {{.loss = 3}}}, {{}, {{.loss = 4}}}).metrics.empty()) << "one window";
}

TEST(Comparison, WhatIsNotTheSameIsRefused) {
  const Outcomes one{{Of(true)}, {}}, two{{Of(true), Of(true)}, {}}, norm{{Of(true, true)}, {}};
  const Outcomes light{{}, {{.loss = 1}, {.loss = 1}}}, heavy{{}, {{.loss = 1}, {.loss = 1, .weight = 2}}};
  const auto message = [](const Outcomes& a, const Outcomes& b) -> std::string {
    try {
      Compare(a, b);
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::kContent);
      return error.what();
    }
    return "";
  };
  EXPECT_THAT(message(one, two), testing::HasSubstr("2 questions against 1"));
  EXPECT_THAT(message(one, norm), testing::HasSubstr("question 0 has another"));
  EXPECT_THAT(message(light, heavy), testing::HasSubstr("window 1 weighs 2 against 1"));
  EXPECT_THAT(message(one, light), testing::HasSubstr("results.db"));
}

}  // namespace
}  // namespace lowbit
