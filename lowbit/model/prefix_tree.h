// SPDX-License-Identifier: Apache-2.0
// Requests that begin alike, as a tree: every distinct beginning has its tokens once.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lowbit {

// Score `continuation`, each token given `context` and those before it. Both hold at least one token. The model is
// fed context ++ continuation but for the last token, which is only a target.
struct ContinuedRequest {
  std::span<const int32_t> context, continuation;

  size_t rows() const { return context.size() + continuation.size() - 1; }
  int32_t At(size_t position) const {
    return position < context.size() ? context[position] : continuation[position - context.size()];
  }
};

// Tokens [first_position, first_position + rows) of a request's input, which no branch before it has in that place
// after the same tokens. Those in front of them are the way to it: a part of the way to the end of the branch
// before it.
struct TreeBranch {
  size_t request = 0;
  size_t first_position = 0;
  size_t first_row = 0, rows = 0;  // in the tree's rows, branch after branch; at least one

  size_t end_position() const { return first_position + rows; }
};

// The row that predicts a token of a continuation.
struct ScoredRow {
  size_t row = 0, request = 0, token = 0;
};

class PrefixTree {
 public:
  // The requests' tokens must outlive it. The tree depends on the set of inputs only, not on their order: branches
  // are in lexicographic order of ids.
  explicit PrefixTree(std::span<const ContinuedRequest> requests);

  std::span<const ContinuedRequest> requests() const { return requests_; }
  std::span<const TreeBranch> branches() const { return branches_; }
  std::span<const ScoredRow> scored() const { return scored_; }  // ascending by row

  size_t rows() const { return rows_; }        // tokens that are computed
  size_t asked() const { return asked_; }      // tokens of all inputs
  size_t longest() const { return longest_; }  // tokens of the longest input

 private:
  std::vector<ContinuedRequest> requests_;
  std::vector<TreeBranch> branches_;
  std::vector<ScoredRow> scored_;
  size_t rows_ = 0, asked_ = 0, longest_ = 0;
};

}  // namespace lowbit
