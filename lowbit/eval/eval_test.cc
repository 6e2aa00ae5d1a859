// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "lowbit/base/error_testing.h"
#include "lowbit/base/files.h"
#include "lowbit/eval/corpus.h"
#include "lowbit/eval/perplexity.h"
#include "lowbit/eval/task.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

const std::string kTiny = std::string(LOWBIT_TESTDATA) + "/models/tiny-qwen3";
const std::string kDemo = std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3";

struct TinyScorer {
  explicit TinyScorer(const std::string& folder = kTiny) : source(OpenModel(folder)) {}
  Threads threads{2};
  std::unique_ptr<LayerSource> source;
  std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
  Decoder decoder{*source, *backend};
  Scorer scorer{decoder};
};

TEST(WikiTextRows, AreLinesJoinedByTwoNewlinesAndBlankLinesAreEmptyRows) {
  EXPECT_EQ(JoinWikiTextRows(" = A = \n \n\n text \n"), " = A = \n\n\n\n\n\n\n text \n");
  EXPECT_EQ(JoinWikiTextRows("last line without newline"), "last line without newline");
  EXPECT_EQ(JoinWikiTextRows(""), "");
}

TEST(Corpus, RefusesAnEmptyFileAndBrokenUtf8) {
  const std::string path = testing::TempDir() + "/corpus.txt";
  WriteFileAtomic(path, "");
  EXPECT_EQ(ErrorOf([&] { ReadPlainText(path); }).kind(), ErrorKind::kContent);
  WriteFileAtomic(path, "abc\xFFgh");
  EXPECT_THAT(ErrorOf([&] { ReadPlainText(path); }).what(), HasSubstr("byte 3"));
}

TEST(Perplexity, OfAllWindowsIsTheExponentialOfTheMeanOfTheirMeans) {
  const TinyScorer tiny;
  TokenIds ids(70);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<int32_t>(i * 37 % 512);
  const PerplexityResult all = PerplexityOf(tiny.scorer, ids, 16, 0),
                         two = PerplexityOf(tiny.scorer, ids, 16, 2);
  ASSERT_EQ(all.window_nll.size(), 4u);  // 70 = 4 · 16 + 6
  ASSERT_EQ(two.window_nll.size(), 2u);
  EXPECT_EQ(all.predicted_tokens, 4u * 15);
  EXPECT_EQ(two.window_nll[1], all.window_nll[1]);
  EXPECT_DOUBLE_EQ(two.perplexity, std::exp((all.window_nll[0] + all.window_nll[1]) / 2));
  EXPECT_FALSE(PerplexityOf(tiny.scorer, ids, 16, 1).std_error.has_value());
  const double half =
      std::abs(all.window_nll[0] - all.window_nll[1]) / 2;  // of two values: the error of their mean
  EXPECT_NEAR(*two.std_error, two.perplexity * half, 1e-9 * two.perplexity);
}

TEST(Perplexity, RefusesATextShorterThanAWindow) {
  const TinyScorer tiny;
  const TokenIds ids(15, 1);
  EXPECT_THAT(ErrorOf([&] { PerplexityOf(tiny.scorer, ids, 16, 0); }).what(),
              HasSubstr("15 tokens, fewer than one window of 16"));
  EXPECT_EQ(ErrorOf([&] { PerplexityOf(tiny.scorer, ids, 1, 0); }).kind(), ErrorKind::kUsage);
}

TEST(Scorer, RefusesRequestsThatCannotBeScored) {
  const TinyScorer tiny;
  const auto ask = [&](ContinuationRequest r) {
    return ErrorOf([&] { tiny.scorer.LogLikelihoods(std::span(&r, 1)); });
  };
  EXPECT_THAT(ask({{}, {{1}}, 8}).what(), HasSubstr("request 0: the context is empty"));
  EXPECT_THAT(ask({{1}, {{}}, 8}).what(), HasSubstr("a continuation is empty"));
  EXPECT_THAT(ask({{1}, {TokenIds(9, 2)}, 8}).what(), HasSubstr("longer than max_length 8"));
  EXPECT_THAT(ask({{1}, {{512}}, 8}).what(), HasSubstr("token id 512"));
}

TEST(Scorer, KeepsTheRightEndOfWhatIsTooLong) {
  const TinyScorer tiny;
  const std::vector<ContinuationRequest> requests = {{{1, 2, 3, 4, 5}, {{6, 7}}, 4},
                                                     {{3, 4, 5}, {{6, 7}}, 100}};
  const auto scores = tiny.scorer.LogLikelihoods(requests);
  EXPECT_EQ(scores[0][0].log_likelihood, scores[1][0].log_likelihood);
}

TEST(Tasks, AreKnownByNameAndTextTakesAFile) {
  EXPECT_EQ(ErrorOf([] { MakeTask("wikitext3", {}); }).kind(), ErrorKind::kUsage);
  EXPECT_THAT(ErrorOf([] { MakeTask("wikitext3", {}); }).what(), HasSubstr("tasks: wikitext2, text:FILE"));
  EXPECT_EQ(ErrorOf([] { MakeTask("text:", {}); }).kind(), ErrorKind::kUsage);
  EXPECT_EQ(ErrorOf([] { MakeTask("text:/no/such/file", {}); }).kind(), ErrorKind::kMissing);
  TaskOptions nowhere;
  nowhere.data_folder = "/no/such/folder";
  EXPECT_EQ(ErrorOf([&] { MakeTask("wikitext2", nowhere); }).kind(), ErrorKind::kMissing);
}

// data/README.md: transformers, f32, on the file encoded as it is.
TEST(DemoModel, PerplexityEqualsTransformers) {
  const std::string file = std::string(LOWBIT_SOURCE_DIR) + "/data/wikitext2/wiki.test.raw";
  TaskOptions options;
  options.window = 512;
  options.windows = 40;
  const TinyScorer demo(kDemo);
  const TaskResult result =
      MakeTask("text:" + file, options)->Run(demo.scorer, Tokenizer::Load(kDemo), nullptr);
  EXPECT_EQ(result.data_hash,
            "173c87a53759e0201f33e0ccf978e510c2042d7f2cb78229d9a50d79b9e7dd08");  // the official file
  EXPECT_THAT(result.protocol, HasSubstr("419333 tokens, no BOS"));
  EXPECT_THAT(result.protocol, HasSubstr("40 of 819 windows of 512 tokens"));
  ASSERT_EQ(result.measurements.size(), 1u);
  EXPECT_NEAR(result.measurements[0].value, 83.72, 0.005);
  EXPECT_EQ(result.measurements[0].n, 40u * 511);
}

}  // namespace
}  // namespace lowbit
