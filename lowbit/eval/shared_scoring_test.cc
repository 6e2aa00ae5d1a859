// SPDX-License-Identifier: Apache-2.0
// Sharing prefixes never changes a bit: whatever the batch, the order, the number of threads, the memory.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>

#include "lowbit/eval/scorer.h"

namespace lowbit {
namespace {

const std::string kModels = std::string(LOWBIT_TESTDATA) + "/models/";

// Questions that begin alike, with several answers each, of one token and of many; some cut at the left, some equal,
// some beginnings of others; long enough for several attention blocks.
std::vector<ContinuationRequest> Requests() {
  std::mt19937 random(5);
  const auto ids = [&](size_t count) {
    TokenIds made(count);
    for (int32_t& id : made) id = static_cast<int32_t>(random() % 500);
    return made;
  };
  const TokenIds header = ids(75), shorter(header.begin(), header.begin() + 63);
  std::vector<ContinuationRequest> requests;
  for (const size_t own : {1, 3, 17, 60, 64}) {
    TokenIds context = header;
    const TokenIds question = ids(own);
    context.insert(context.end(), question.begin(), question.end());
    requests.push_back({context, {ids(1), ids(1), ids(5), ids(70)}, 1000});
    requests.back().continuations.push_back(requests.back().continuations[2]);
    requests.back().continuations[3][0] = requests.back().continuations[2][0];
  }
  requests.push_back({header, {ids(2), ids(1)}, 1000});
  requests.push_back({shorter, {{header.begin() + 63, header.end()}, ids(3)}, 1000});
  requests.push_back({ids(9), {ids(2), ids(2)}, 1000});
  requests.push_back({requests[3].context, requests[3].continuations, 90});  // loses its left end
  return requests;
}

std::vector<double> Flat(const std::vector<std::vector<ContinuationScore>>& scores) {
  std::vector<double> flat;
  for (const auto& request : scores) {
    for (const ContinuationScore& score : request) {
      flat.push_back(score.log_likelihood);
      flat.push_back(score.is_greedy ? 1 : 0);
    }
  }
  return flat;
}

struct Way {
  int threads = 2;
  size_t batch = 0;
  bool least_memory = false;
  uint64_t bytes = 0;
  Sharing sharing = Sharing::kPrefixes;
};

std::vector<double> Score(const LayerSource& source, const char* backend_name,
                          std::span<const ContinuationRequest> requests, const Way& way,
                          ScoreCounts* counts = nullptr) {
  const Threads threads(way.threads);
  const std::unique_ptr<Backend> backend = MakeBackend(backend_name, "f32", threads);
  MemoryBudget budget;
  budget.least = way.least_memory;
  budget.scratch = testing::TempDir();
  const Decoder decoder(source, *backend, budget);
  return Flat(Scorer(decoder, way.batch, false, way.sharing).LogLikelihoods(requests, counts));
}

class SharedScoringTest : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Models, SharedScoringTest,
                         testing::Values("tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe"));

TEST_P(SharedScoringTest, GivesThePlainScorersBitsInEveryWay) {
  const std::unique_ptr<LayerSource> source = OpenModel(kModels + GetParam());
  const std::vector<ContinuationRequest> requests = Requests();
  ScoreCounts plain, shared;
  const std::vector<double> want = Score(*source, "cpu", requests, {.sharing = Sharing::kNone}, &plain);
  EXPECT_EQ(Score(*source, "cpu", requests, {}, &shared), want);
  EXPECT_EQ(plain.computed, plain.asked);
  EXPECT_EQ(shared.asked, plain.asked);
  EXPECT_LT(shared.computed, plain.asked / 3);
  for (const Way& way :
       {Way{.threads = 1}, Way{.threads = 3}, Way{.batch = 1}, Way{.batch = 8}, Way{.batch = 1000},
        Way{.least_memory = true}, Way{.threads = 1, .batch = 8, .least_memory = true}}) {
    EXPECT_EQ(Score(*source, "cpu", requests, way), want)
        << way.threads << " threads, batch " << way.batch << (way.least_memory ? ", least memory" : "");
  }
}

TEST_P(SharedScoringTest, DoesNotDependOnTheOrderOfRequests) {
  const std::unique_ptr<LayerSource> source = OpenModel(kModels + GetParam());
  const std::vector<ContinuationRequest> requests = Requests();
  std::vector<ContinuationRequest> reversed(requests.rbegin(), requests.rend());
  for (ContinuationRequest& request : reversed) std::ranges::reverse(request.continuations);
  std::vector<double> scores = Score(*source, "cpu", reversed, {}),
                      want = Score(*source, "cpu", requests, {});
  for (size_t i = 0; i < scores.size(); i += 2) std::swap(scores[i], scores[i + 1]);
  std::ranges::reverse(scores);
  EXPECT_EQ(scores, want);
}

TEST(SharedScoring, OfTheReferenceBackendIsTheSameToo) {
  const std::unique_ptr<LayerSource> source = OpenModel(kModels + "tiny-qwen3");
  std::vector<ContinuationRequest> requests = Requests();
  requests.resize(2);
  EXPECT_EQ(Score(*source, "ref", requests, {}),
            Score(*source, "ref", requests, {.sharing = Sharing::kNone}));
}

TEST(SharedScoring, RefusesIdsOutsideTheVocabularyAndTakesNothing) {
  const std::unique_ptr<LayerSource> source = OpenModel(kModels + "tiny-qwen3");
  const std::vector<ContinuationRequest> bad = {{{1, 2}, {{100000}}, 10}};
  EXPECT_THROW(Score(*source, "cpu", bad, {}), Error);
  EXPECT_TRUE(Score(*source, "cpu", {}, {}).empty());
}

TEST(SharedScoring, TheJobSaysWhatIsComputed) {
  const std::vector<ContinuationRequest> requests = {{{1, 2, 3}, {{4, 5}, {4, 6, 7}}, 10}};
  const ForwardJob job = Scorer::JobOf(requests);
  EXPECT_EQ(job.rows, 5u);  // 1 2 3 4 6
  EXPECT_EQ(job.scored, 5u);
  EXPECT_EQ(job.longest, 5u);
}

}  // namespace
}  // namespace lowbit
