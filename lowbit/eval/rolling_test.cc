// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/rolling.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

namespace lowbit {
namespace {

using testing::HasSubstr;

struct Shape {
  TokenIds ids;
  size_t first_scored;
};

// make_disjoint_window(get_rolling_token_windows(range(1, n + 1), 0, max_length, 1)) of lm-eval 0.4.13: context and
// continuation, whose last token is a target only.
TEST(RollingWindows, AreTheHarnesss) {
  const auto expect = [](size_t tokens, size_t max_length, const std::vector<Shape>& wanted) {
    TokenIds ids(tokens);
    std::iota(ids.begin(), ids.end(), 1);
    const std::vector<RollingWindow> windows = RollingWindows(ids, 0, max_length);
    ASSERT_EQ(windows.size(), wanted.size()) << tokens << " " << max_length;
    for (size_t i = 0; i < windows.size(); ++i) {
      EXPECT_EQ(windows[i].ids, wanted[i].ids) << tokens << " " << max_length;
      EXPECT_EQ(windows[i].first_scored, wanted[i].first_scored) << tokens << " " << max_length;
    }
  };
  expect(0, 4, {});
  expect(1, 4, {{{0, 1}, 1}});
  expect(4, 4, {{{0, 1, 2, 3, 4}, 1}});
  expect(5, 4, {{{0, 1, 2, 3, 4}, 1}, {{1, 2, 3, 4, 5}, 4}});
  expect(7, 4, {{{0, 1, 2, 3, 4}, 1}, {{3, 4, 5, 6, 7}, 2}});
  expect(9, 4, {{{0, 1, 2, 3, 4}, 1}, {{4, 5, 6, 7, 8}, 1}, {{5, 6, 7, 8, 9}, 4}});
  expect(3, 1, {{{0, 1}, 1}, {{1, 2}, 1}, {{2, 3}, 1}});
}

TEST(RollingWindows, ScoreEveryTokenOnce) {
  for (const size_t max_length : {1, 2, 7, 31, 64, 65}) {
    for (size_t tokens = 1; tokens <= 130; ++tokens) {
      TokenIds ids(tokens), scored;
      std::iota(ids.begin(), ids.end(), 100);
      for (const RollingWindow& window : RollingWindows(ids, 0, max_length)) {
        EXPECT_LE(window.ids.size(), max_length + 1);
        ASSERT_GE(window.first_scored, 1u);
        scored.insert(scored.end(), window.ids.begin() + static_cast<ptrdiff_t>(window.first_scored),
                      window.ids.end());
      }
      ASSERT_EQ(scored, ids) << tokens << " " << max_length;
    }
  }
}

const std::string kModel = std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3";

class RollingTaskTest : public testing::Test {
 protected:
  RollingTaskTest() : set_{"wikitext", "two texts", std::string(64, '0'), {}} {
    set_.texts.push_back({"The first text is longer than a window of the model is here.", 10, 70});
    set_.texts.push_back({"A short one.", 4, 15});
    set_.texts.push_back({"", 1, 3});  // nothing to score, but counted
  }

  double NllOf(const std::string& text, size_t max_length, const PairOptions& options) const {
    double nll = 0;
    const TokenIds ids = EncodeText(tokenizer_, text, options);
    for (const RollingWindow& window : RollingWindows(ids, PrefixToken(tokenizer_, options), max_length)) {
      const ScoreRequest request{window.ids, window.first_scored};
      const auto scores = scorer_.ScoreTokens(std::span(&request, 1));
      for (const TokenScore& token : scores[0]) nll -= token.log_prob;
    }
    return nll;
  }

  Threads threads_{2};
  std::unique_ptr<LayerSource> source_ = OpenModel(kModel);
  std::unique_ptr<Backend> backend_ = MakeBackend("cpu", "f32", threads_);
  Decoder decoder_{*source_, *backend_};
  Scorer scorer_{decoder_};
  Tokenizer tokenizer_ = Tokenizer::Load(kModel);
  RollingSet set_;
};

TEST_F(RollingTaskTest, DividesSumsByWordsAndBytes) {
  const auto task = MakeRollingTask(set_, {.window = 8});
  const TaskResult result = task->Run(scorer_, tokenizer_, nullptr);
  const double nll = NllOf(set_.texts[0].text, 8, {}) + NllOf(set_.texts[1].text, 8, {});
  ASSERT_EQ(result.measurements.size(), 3u);
  EXPECT_EQ(result.measurements[0].name, "word_perplexity");
  EXPECT_DOUBLE_EQ(result.measurements[0].value, std::exp(nll / 15));
  EXPECT_EQ(result.measurements[1].name, "byte_perplexity");
  EXPECT_DOUBLE_EQ(result.measurements[1].value, std::exp(nll / 88));
  EXPECT_EQ(result.measurements[2].name, "bits_per_byte");
  EXPECT_DOUBLE_EQ(result.measurements[2].value, nll / 88 / std::log(2.0));
  const size_t tokens =
      tokenizer_.Encode(set_.texts[0].text).size() + tokenizer_.Encode(set_.texts[1].text).size();
  EXPECT_EQ(result.measurements[0].n, tokens);
  EXPECT_THAT(result.protocol, HasSubstr(fmt::format("3 of 3 pages, {} tokens in ", tokens)));
  EXPECT_THAT(result.protocol, HasSubstr("max_length 8, prefix token 4093, no BOS (--bos auto)"));
  const ForwardJob job = task->Job(tokenizer_, source_->config());
  EXPECT_EQ(job.scored, tokens);
  EXPECT_EQ(job.longest, 8u);
}

// Residuals of the ratio by hand: for words 10, 4, 1 and losses a, b, 0.
TEST_F(RollingTaskTest, GivesTheErrorOfARatioOverTexts) {
  const double a = NllOf(set_.texts[0].text, 8, {}), b = NllOf(set_.texts[1].text, 8, {}), r = (a + b) / 15;
  const double squares = std::pow(a - 10 * r, 2) + std::pow(b - 4 * r, 2) + std::pow(r, 2);
  const TaskResult all = MakeRollingTask(set_, {.window = 8})->Run(scorer_, tokenizer_, nullptr);
  EXPECT_NEAR(*all.measurements[0].std_error, std::exp(r) * std::sqrt(squares * 3 / 2) / 15,
              1e-9 * all.measurements[0].value);
  const TaskResult first =
      MakeRollingTask(set_, {.window = 8, .limit = 1})->Run(scorer_, tokenizer_, nullptr);
  EXPECT_FALSE(first.measurements[0].std_error.has_value());
  EXPECT_DOUBLE_EQ(first.measurements[0].value, std::exp(a / 10));
  EXPECT_THAT(first.protocol, HasSubstr("1 of 3 pages"));
}

TEST_F(RollingTaskTest, SeesAsMuchAsTheModelCanUnlessTold) {
  const TaskResult result = MakeRollingTask(set_, {})->Run(scorer_, tokenizer_, nullptr);
  EXPECT_THAT(result.protocol, HasSubstr("in 2 windows, max_length 1024,"));
  EXPECT_DOUBLE_EQ(
      result.measurements[0].value,
      std::exp((NllOf(set_.texts[0].text, 1024, {}) + NllOf(set_.texts[1].text, 1024, {})) / 15));
  EXPECT_NE(MakeRollingTask(set_, {})->Settings(), MakeRollingTask(set_, {.window = 1024})->Settings());
  EXPECT_NE(MakeRollingTask(set_, {})->Settings(), MakeRollingTask(set_, {.bos = BosRule::kOff})->Settings());
}

TEST_F(RollingTaskTest, HasTheSameBitsWhateverTheBatch) {
  const auto task = MakeRollingTask(set_, {.window = 5});
  const TaskResult all = task->Run(scorer_, tokenizer_, nullptr);
  for (const size_t batch : {1, 2, 3}) {
    const TaskResult cut = task->Run(Scorer(decoder_, batch), tokenizer_, nullptr);
    for (size_t i = 0; i < 3; ++i) EXPECT_EQ(cut.measurements[i].value, all.measurements[i].value) << batch;
  }
}

TEST_F(RollingTaskTest, RefusesTextsWithoutTokensAndTokenizersWithoutPrefix) {
  set_.texts.erase(set_.texts.begin(), set_.texts.begin() + 2);
  EXPECT_THROW(MakeRollingTask(set_, {})->Job(tokenizer_, source_->config()), Error);
  set_.texts[0].text = "a";
  const Tokenizer bare = Tokenizer::Load(std::string(LOWBIT_TESTDATA) + "/tokenizers/qwen3_tokenizer.json");
  try {
    MakeRollingTask(set_, {})->Job(bare, source_->config());
    ADD_FAILURE() << "no error";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    EXPECT_THAT(e.what(), HasSubstr("names neither a bos nor an eos token"));
  }
}

TEST(WikiText, IsATaskWithItsOwnOptions) {
  TaskOptions options;
  options.data_folder = LOWBIT_SOURCE_DIR "/data";
  options.limit = 2;
  options.bos = BosRule::kOff;
  options.window = 100;
  std::vector<std::unique_ptr<Task>> tasks;
  tasks.push_back(MakeTask("wikitext", options));
  RequireUsed(options, tasks);
  EXPECT_EQ(tasks[0]->Name(), "wikitext");
  EXPECT_FALSE(tasks[0]->ComparesModels());
  options.windows = 3;
  EXPECT_THROW(RequireUsed(options, tasks), Error);
}

}  // namespace
}  // namespace lowbit
