// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/multiple_choice_task.h"

#include <algorithm>

#include "lowbit/eval/mean.h"

namespace lowbit {
namespace {

Measurement MeanOf(std::string name, std::span<const double> hits) {
  return {std::move(name), Mean(hits), StdErrorOfMean(hits), hits.size(), true};
}

// Hits of each subset, in order.
struct SubsetHits {
  const TaskSubset& subset;
  std::vector<double> hits;
};

Measurement PooledOf(std::string name, std::span<const SubsetHits* const> subsets) {
  std::vector<double> all;
  std::vector<SubsetError> errors;
  for (const SubsetHits* s : subsets) {
    all.insert(all.end(), s->hits.begin(), s->hits.end());
    errors.push_back({s->hits.size(), StdErrorOfMean(s->hits)});
  }
  return {std::move(name), Mean(all), PooledStdError(errors), all.size(), true};
}

class MultipleChoiceTask : public Task {
 public:
  MultipleChoiceTask(MultipleChoiceSet set, const TaskOptions& options)
      : set_(std::move(set)), limit_(options.limit), bos_(options.bos) {
    LimitItems(set_, limit_);
  }

  std::string Name() const override { return set_.task; }
  std::string DataHash() const override { return set_.data_hash; }
  const MultipleChoiceSet* Choices() const override { return &set_; }
  bool Takes(TaskOption option) const override {
    return option == TaskOption::kLimit || option == TaskOption::kShots || option == TaskOption::kBos;
  }
  std::string Settings() const override {
    return fmt::format("multiple choice v1 {} shots={} limit={} bos={}", set_.source, set_.shots, limit_,
                       lowbit::Name(bos_));
  }

  ForwardJob Job(const Tokenizer& tokenizer, const ModelConfig& config) const override {
    return Scorer::JobOf(Requests(tokenizer, config));
  }

  TaskResult Run(const Scorer& scorer, const Tokenizer& tokenizer, Reference*) const override {
    const ModelConfig& config = scorer.decoder().source().config();
    TaskResult result;
    result.task = set_.task;
    result.data_hash = set_.data_hash;
    result.counted = "items";
    result.items = JudgeItems(set_, scorer.LogLikelihoods(Requests(tokenizer, config), &result.tokens));
    for (size_t i = 0; set_.max_prompt > 0 && i < set_.items.size(); ++i)
      result.items[i].shots = ShotsOf(tokenizer, set_, set_.items[i], {.bos = bos_});
    result.protocol = Protocol(tokenizer, config, result.items);
    result.measurements = MeasurementsOf(set_, result.items, result.parts);
    return result;
  }

 private:
  // Planning and running ask for the same tokenizer's ids, one after the other.
  const std::vector<ContinuationRequest>& Requests(const Tokenizer& tokenizer,
                                                   const ModelConfig& config) const {
    const std::string key = fmt::format("{} {}", tokenizer.Hash(), config.max_position_embeddings);
    if (requests_of_ != key) {
      requests_ = RequestsOf(tokenizer, set_, {.bos = bos_}, config.max_position_embeddings);
      requests_of_ = key;
    }
    return requests_;
  }

  std::string Protocol(const Tokenizer& tokenizer, const ModelConfig& config,
                       std::span<const ItemScore> scores) const {
    std::string text = fmt::format("multiple choice as {} asks it, {}: {} of {} items", set_.asked_by,
                                   set_.source, set_.items.size(), set_.official_items);
    if (limit_ > 0)
      text += fmt::format(" (the first {}{})", limit_, set_.subsets.empty() ? "" : " of each subject");
    if (!set_.subsets.empty())
      text += fmt::format(", {} of {} subjects", set_.subsets.size(), set_.official_subsets);
    const bool has_bos = BeginsWithBos(tokenizer, bos_);
    text +=
        fmt::format(", {}-shot, {} (--bos {}), ", set_.shots, has_bos ? "BOS" : "no BOS", lowbit::Name(bos_));
    if (set_.max_prompt > 0) {
      text += fmt::format(
          "prompts of at most {} tokens ({} items with fewer examples), ", set_.max_prompt,
          std::ranges::count_if(scores, [&](const ItemScore& s) { return s.shots < set_.shots; }));
    }
    text += fmt::format("at most {} tokens", config.max_position_embeddings);
    text += "; acc by log-likelihood";
    return set_.normalizes ? text + ", acc_norm by log-likelihood per character" : text;
  }

  MultipleChoiceSet set_;
  size_t limit_;
  BosRule bos_;
  mutable std::string requests_of_;
  mutable std::vector<ContinuationRequest> requests_;
};

}  // namespace

std::unique_ptr<Task> MakeMultipleChoiceTask(MultipleChoiceSet set, const TaskOptions& options) {
  return std::make_unique<MultipleChoiceTask>(std::move(set), options);
}

std::vector<Measurement> MeasurementsOf(const MultipleChoiceSet& set, std::span<const ItemScore> scores,
                                        std::vector<Measurement>& parts) {
  std::vector<double> acc, acc_norm;
  for (const ItemScore& score : scores) {
    acc.push_back(score.acc ? 1 : 0);
    acc_norm.push_back(score.acc_norm ? 1 : 0);
  }
  std::vector<Measurement> all;
  if (set.subsets.empty()) {
    all.push_back(MeanOf("acc", acc));
    if (set.normalizes) all.push_back(MeanOf("acc_norm", acc_norm));
    return all;
  }
  std::vector<SubsetHits> subsets;
  for (const TaskSubset& subset : set.subsets) subsets.push_back({subset, {}});
  for (size_t i = 0; i < scores.size(); ++i) subsets[set.items[i].subset].hits.push_back(acc[i]);
  std::vector<const SubsetHits*> every;
  std::vector<double> means;
  std::vector<std::pair<std::string, std::vector<const SubsetHits*>>> categories;
  for (const SubsetHits& s : subsets) {
    parts.push_back(MeanOf(s.subset.name, s.hits));
    every.push_back(&s);
    means.push_back(parts.back().value);
    if (categories.empty() || categories.back().first != s.subset.category)
      categories.push_back({s.subset.category, {}});
    categories.back().second.push_back(&s);
  }
  all.push_back(PooledOf("acc", every));
  all.push_back({"acc_macro", Mean(means), std::nullopt, acc.size(), true});
  for (const auto& [name, members] : categories) all.push_back(PooledOf("acc_" + name, members));
  return all;
}

}  // namespace lowbit
