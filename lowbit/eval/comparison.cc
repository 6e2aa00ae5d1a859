// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/comparison.h"

#include <algorithm>
#include <functional>
#include <span>

namespace lowbit {
namespace {

using Hits = std::vector<uint8_t>;

Hits HitsOf(std::span<const Answer> answers, const std::function<bool(const Answer&)>& is_hit) {
  Hits hits;
  for (const Answer& answer : answers) hits.push_back(is_hit(answer) ? 1 : 0);
  return hits;
}

bool IsAcc(const Answer& answer) {
  return answer.acc;
}

bool IsAccNorm(const Answer& answer) {
  return answer.acc_norm.value_or(false);
}

bool HasAccNorm(const Answer& answer) {
  return answer.acc_norm.has_value();
}

void RequireSame(const Outcomes& a, const Outcomes& b, const Place& place) {
  const auto require = [&](size_t of_a, size_t of_b, const char* what) {
    if (of_a == of_b) return;
    throw Error(ErrorKind::kContent, place,
                fmt::format("{} {} against {}, expected the same ones", of_b, what, of_a));
  };
  require(a.answers.size(), b.answers.size(), "questions");
  require(a.windows.size(), b.windows.size(), "windows");
  for (size_t i = 0; i < a.answers.size(); ++i) {
    const Answer &x = a.answers[i], &y = b.answers[i];
    if (x.subset == y.subset && x.gold == y.gold && x.log_likelihoods.size() == y.log_likelihoods.size() &&
        x.acc_norm.has_value() == y.acc_norm.has_value())
      continue;
    throw Error(ErrorKind::kContent, place,
                fmt::format("question {} has another subject, right answer or number of choices", i));
  }
  for (size_t i = 0; i < a.windows.size(); ++i) {
    if (a.windows[i].weight != b.windows[i].weight)
      throw Error(ErrorKind::kContent, place,
                  fmt::format("window {} weighs {} against {}", i, b.windows[i].weight, a.windows[i].weight));
  }
}

std::vector<SubsetComparison> CompareSubsets(std::span<const Answer> a, std::span<const Answer> b) {
  std::vector<SubsetComparison> subsets;
  for (size_t begin = 0, end = 0; begin < a.size(); begin = end) {
    while (end < a.size() && a[end].subset == a[begin].subset) ++end;
    const Hits of_a = HitsOf(a.subspan(begin, end - begin), IsAcc),
               of_b = HitsOf(b.subspan(begin, end - begin), IsAcc);
    subsets.push_back({a[begin].subset, McNemar(of_a, of_b), CountFlips(of_a, of_b)});
  }
  return subsets;
}

}  // namespace

int MetricComparison::Verdict() const {
  if (!difference.IsSignificant()) return 0;
  return (difference.difference() > 0) == higher_is_better ? 1 : -1;
}

TaskComparison CompareOutcomes(const Outcomes& a, const Outcomes& b, const std::string& perplexity,
                               const Place& place) {
  RequireSame(a, b, place);
  TaskComparison result;
  if (!a.answers.empty()) {
    const Hits of_a = HitsOf(a.answers, IsAcc), of_b = HitsOf(b.answers, IsAcc);
    result.metrics.push_back({"acc", true, McNemar(of_a, of_b), CountFlips(of_a, of_b)});
    if (!a.answers.front().subset.empty()) result.subsets = CompareSubsets(a.answers, b.answers);
  }
  if (a.answers.size() >= 2 && std::ranges::all_of(a.answers, HasAccNorm)) {
    const Hits of_a = HitsOf(a.answers, IsAccNorm), of_b = HitsOf(b.answers, IsAccNorm);
    result.metrics.push_back({"acc_norm", true, BootstrapShares(of_a, of_b), CountFlips(of_a, of_b)});
  }
  if (a.windows.size() >= 2) {
    std::vector<double> losses_a, losses_b, weights;
    for (size_t i = 0; i < a.windows.size(); ++i) {
      losses_a.push_back(a.windows[i].loss);
      losses_b.push_back(b.windows[i].loss);
      weights.push_back(a.windows[i].weight);
    }
    result.metrics.push_back(
        {perplexity, false, BootstrapPerplexities(losses_a, losses_b, weights), std::nullopt});
  }
  return result;
}

}  // namespace lowbit
