// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/prefix_tree.h"

#include <algorithm>
#include <numeric>

#include "lowbit/model/branch_path.h"

namespace lowbit {
namespace {

size_t CommonLength(const ContinuedRequest& a, const ContinuedRequest& b) {
  const size_t most = std::min(a.rows(), b.rows());
  size_t length = 0;
  while (length < most && a.At(length) == b.At(length)) ++length;
  return length;
}

bool IsBefore(const ContinuedRequest& a, const ContinuedRequest& b) {
  const size_t common = CommonLength(a, b);
  if (common == a.rows() || common == b.rows()) return a.rows() < b.rows();
  return a.At(common) < b.At(common);
}

}  // namespace

// In lexicographic order an input shares with all before it no more than with its neighbour: what it has beyond that
// is new.
PrefixTree::PrefixTree(std::span<const ContinuedRequest> requests)
    : requests_(requests.begin(), requests.end()) {
  std::vector<size_t> order(requests_.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::ranges::stable_sort(order, [&](size_t a, size_t b) { return IsBefore(requests_[a], requests_[b]); });
  PathRuns path;
  const ContinuedRequest* before = nullptr;
  for (const size_t i : order) {
    const ContinuedRequest& request = requests_[i];
    const size_t shared = before == nullptr ? 0 : CommonLength(*before, request);
    const size_t own = request.rows() - shared;
    if (own > 0) {
      branches_.push_back({i, shared, rows_, own});
      path.Enter(branches_.back());
      rows_ += own;
    }
    asked_ += request.rows();
    longest_ = std::max(longest_, request.rows());
    for (size_t token = 0; token < request.continuation.size(); ++token)
      scored_.push_back({path.RowOf(request.context.size() - 1 + token), i, token});
    before = &request;
  }
  std::ranges::stable_sort(scored_, {}, &ScoredRow::row);
}

}  // namespace lowbit
