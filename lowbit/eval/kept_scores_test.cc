// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/kept_scores.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "lowbit/base/files.h"
#include "lowbit/base/json.h"
#include "lowbit/base/test_folder.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

std::vector<ContinuationRequest> Requests() {
  std::vector<ContinuationRequest> requests;
  for (int32_t i = 0; i < 7; ++i) requests.push_back({{1, 2, 3 + i}, {{4}, {5, 6 + i}, {7, 8}}, 100});
  return requests;
}

class KeptScoresTest : public testing::Test {
 protected:
  std::vector<std::vector<ContinuationScore>> Score(ScoreKeeper* keeper,
                                                    ScoreCounts* counts = nullptr) const {
    const Decoder decoder(*source_, *backend_, {});
    return Scorer(decoder, 0, false, Sharing::kPrefixes, keeper).LogLikelihoods(requests_, counts);
  }
  KeptScores Keeper(const std::string& key = "key") const {
    return KeptScores(folder_.path(), key, 3);
  }
  std::string Block(int index) const {
    return fmt::format("{}/block-{:05}.json", folder_.File("scores-key"), index);
  }

  const TestFolder folder_;
  const std::unique_ptr<LayerSource> source_ = OpenModel(std::string(LOWBIT_TESTDATA) + "/models/tiny-qwen3");
  const Threads threads_{1};
  const std::unique_ptr<Backend> backend_ = MakeBackend("cpu", "f32", threads_);
  const std::vector<ContinuationRequest> requests_ = Requests();
};

void ExpectSame(const std::vector<std::vector<ContinuationScore>>& a,
                const std::vector<std::vector<ContinuationScore>>& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].size(), b[i].size());
    for (size_t c = 0; c < a[i].size(); ++c) {
      EXPECT_EQ(a[i][c].log_likelihood, b[i][c].log_likelihood);
      EXPECT_EQ(a[i][c].is_greedy, b[i][c].is_greedy);
    }
  }
}

TEST_F(KeptScoresTest, BlocksHaveTheBitsOfOneCall) {
  ScoreCounts whole, in_blocks, again;
  const auto expected = Score(nullptr, &whole);
  KeptScores keeper = Keeper();
  ExpectSame(Score(&keeper, &in_blocks), expected);
  EXPECT_EQ(in_blocks.asked, whole.asked);
  EXPECT_TRUE(fs::exists(Block(2)));
  EXPECT_FALSE(fs::exists(Block(3)));
  ExpectSame(Score(&keeper, &again), expected);
  EXPECT_EQ(again.computed, in_blocks.computed) << "what the blocks took when they were computed";
}

// A marker in a kept block comes back: it was not computed again.
TEST_F(KeptScoresTest, WhatIsThereIsNotComputedAgain) {
  KeptScores keeper = Keeper();
  const auto expected = Score(&keeper);
  Json block = ReadJsonFile(Block(1));
  block["scores"][0][0][0] = -123.5;
  WriteFileAtomic(Block(1), block.dump());
  fs::remove(Block(2));
  const auto scores = Score(&keeper);
  EXPECT_EQ(scores[3][0].log_likelihood, -123.5);
  EXPECT_EQ(scores[6][0].log_likelihood, expected[6][0].log_likelihood);
  EXPECT_TRUE(fs::exists(Block(2)));
}

TEST_F(KeptScoresTest, WhatDoesNotFitIsComputedAgain) {
  KeptScores keeper = Keeper();
  const auto expected = Score(&keeper);
  const Json good = ReadJsonFile(Block(1));
  const auto with = [&](const std::string& pointer, const Json& value) {
    Json changed = good;
    changed[Json::json_pointer(pointer)] = value;
    return changed.dump();
  };
  Json shorter = good;
  shorter["scores"].erase(0);
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), good.dump().substr(0, good.dump().size() / 2),
        with("/key", "other"), with("/asked", "many"), with("/scores/0", Json::array()),
        with("/scores/0/0", Json::array()), with("/scores/0/0/0", nullptr), shorter.dump()}) {
    SCOPED_TRACE(text);
    WriteFileAtomic(Block(1), text);
    ExpectSame(Score(&keeper), expected);
    EXPECT_EQ(ReadJsonFile(Block(1)), good);
  }
  KeptScores other = Keeper("another key");
  EXPECT_FALSE(other.Find(0, std::span(requests_).first(3)).has_value());
  std::filesystem::rename(folder_.File("scores-key"), folder_.File("scores-another key"));
  EXPECT_FALSE(other.Find(0, std::span(requests_).first(3)).has_value()) << "a file says whose it is";
}

TEST_F(KeptScoresTest, LeaveWhenTheyAreTold) {
  KeptScores keeper = Keeper();
  keeper.Remove();
  Score(&keeper);
  EXPECT_TRUE(std::filesystem::exists(Block(0)));
  keeper.Remove();
  EXPECT_FALSE(std::filesystem::exists(folder_.File("scores-key")));
}

TEST_F(KeptScoresTest, AFolderThatCannotBeMadeIsAnError) {
  folder_.Write("scores-key", "a file");
  KeptScores keeper = Keeper();
  EXPECT_THROW(Score(&keeper), Error);
}

}  // namespace
}  // namespace lowbit
