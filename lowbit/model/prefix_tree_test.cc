// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/prefix_tree.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "lowbit/model/branch_path.h"
#include "lowbit/model/decoder.h"

namespace lowbit {
namespace {

struct Texts {
  std::vector<TokenIds> contexts, continuations;
  std::vector<ContinuedRequest> Requests() const {
    std::vector<ContinuedRequest> requests;
    for (size_t i = 0; i < contexts.size(); ++i) requests.push_back({contexts[i], continuations[i]});
    return requests;
  }
};

TokenIds InputOf(const ContinuedRequest& request) {
  TokenIds ids;
  for (size_t i = 0; i < request.rows(); ++i) ids.push_back(request.At(i));
  return ids;
}

// Each input's tokens are found along its way, every distinct beginning has one row, and no other.
void ExpectSound(const PrefixTree& tree) {
  std::vector<int32_t> id_of_row(tree.rows(), -1);
  std::set<TokenIds> beginnings;
  size_t asked = 0;
  for (const ContinuedRequest& request : tree.requests()) {
    const TokenIds input = InputOf(request);
    asked += input.size();
    for (size_t n = 1; n <= input.size(); ++n)
      beginnings.insert({input.begin(), input.begin() + static_cast<long>(n)});
  }
  EXPECT_EQ(tree.asked(), asked);
  EXPECT_EQ(tree.rows(), beginnings.size());

  PathRuns path;
  size_t next_row = 0;
  std::vector<std::vector<size_t>> rows_of(tree.requests().size());  // of those that own a branch
  for (const TreeBranch& branch : tree.branches()) {
    ASSERT_EQ(branch.first_row, next_row);
    ASSERT_GT(branch.rows, 0u);
    next_row += branch.rows;
    path.Enter(branch);
    ASSERT_EQ(path.positions(), branch.end_position());
    const ContinuedRequest& request = tree.requests()[branch.request];
    for (size_t p = 0; p < branch.end_position(); ++p) {
      const size_t row = path.RowOf(p);
      if (p >= branch.first_position) id_of_row[row] = request.At(p);
      ASSERT_EQ(id_of_row[row], request.At(p));
      rows_of[branch.request].push_back(row);
    }
  }
  EXPECT_EQ(next_row, tree.rows());
  EXPECT_TRUE(std::ranges::is_sorted(tree.scored(), {}, &ScoredRow::row));
  std::set<std::pair<size_t, size_t>> scored;
  for (const ScoredRow& s : tree.scored()) {
    const ContinuedRequest& request = tree.requests()[s.request];
    EXPECT_EQ(id_of_row[s.row], request.At(request.context.size() - 1 + s.token));
    if (!rows_of[s.request].empty()) {
      EXPECT_EQ(s.row, rows_of[s.request][request.context.size() - 1 + s.token]);
    }
    scored.insert({s.request, s.token});
  }
  size_t tokens = 0;
  for (const ContinuedRequest& request : tree.requests()) tokens += request.continuation.size();
  EXPECT_EQ(scored.size(), tokens);
}

TEST(PrefixTree, HasEveryBeginningOnce) {
  const Texts texts{{{1, 2, 3}, {1, 2, 3}, {1, 2, 3}, {1, 2}, {7}, {1, 2, 3}},
                    {{4, 5}, {4, 6}, {9}, {3, 4, 5}, {7}, {4, 5}}};
  const std::vector<ContinuedRequest> requests = texts.Requests();
  const PrefixTree tree(requests);
  EXPECT_EQ(tree.rows(), 5u);  // 1 2 3 4 and 7
  EXPECT_EQ(tree.asked(), 4u + 4 + 3 + 4 + 1 + 4);
  EXPECT_EQ(tree.longest(), 4u);
  EXPECT_EQ(tree.branches().size(), 3u);
  ExpectSound(tree);
}

TEST(PrefixTree, OfNothingIsEmpty) {
  const PrefixTree tree(std::span<const ContinuedRequest>{});
  EXPECT_EQ(tree.rows(), 0u);
  EXPECT_TRUE(tree.branches().empty());
}

TEST(PrefixTree, IsSoundForRandomTextsOfFewTokens) {
  std::mt19937 random(3);
  for (int round = 0; round < 30; ++round) {
    Texts texts;
    for (size_t i = 0; i < 1 + random() % 40; ++i) {
      const auto make = [&](size_t most) {
        TokenIds ids(1 + random() % most);
        for (int32_t& id : ids) id = static_cast<int32_t>(random() % 3);
        return ids;
      };
      texts.contexts.push_back(make(12));
      texts.continuations.push_back(make(4));
    }
    const std::vector<ContinuedRequest> requests = texts.Requests();
    ExpectSound(PrefixTree(requests));
    std::vector<ContinuedRequest> shuffled = requests;
    std::ranges::shuffle(shuffled, random);
    EXPECT_EQ(PrefixTree(shuffled).rows(), PrefixTree(requests).rows());
  }
}

}  // namespace
}  // namespace lowbit
