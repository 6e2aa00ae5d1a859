// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/multiple_choice.h"

#include <cmath>

#include "lowbit/text/python_text.h"

namespace lowbit {
namespace {

// The first index of the largest score. With `length` scores are divided by it.
template <class Length>
size_t BestOf(std::span<const double> scores, const Length& length) {
  size_t best = 0;
  double most = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    const double score = scores[i] / length(i);
    if (i == 0 || score > most) {
      best = i;
      most = score;
    }
  }
  return best;
}

}  // namespace

std::string ContextOf(const MultipleChoiceSet& set, const MultipleChoiceItem& item, size_t choice,
                      size_t shots) {
  const std::string& own = item.contexts[item.contexts.size() == 1 ? 0 : choice];
  if (set.subsets.empty()) return own;
  const TaskSubset& subset = set.subsets[item.subset];
  const size_t end = shots < subset.prefix_ends.size() ? subset.prefix_ends[shots] : subset.prefix.size();
  return subset.prefix.substr(0, end) + own;
}

const std::string& ContinuationOf(const MultipleChoiceItem& item, size_t choice) {
  return item.continuations[item.continuations.size() == 1 ? 0 : choice];
}

MultipleChoiceItem ItemOf(std::string context, std::span<const std::string> choices, size_t gold,
                          const Place& place, std::string_view delimiter) {
  MultipleChoiceItem item;
  item.contexts.push_back(std::move(context));
  for (size_t i = 0; i < choices.size(); ++i) {
    if (choices[i].empty())
      throw Error(ErrorKind::kContent, place, fmt::format("choice {} is empty, expected text", i));
    item.continuations.push_back(std::string(delimiter) + choices[i]);
    item.lengths.push_back({CodePointCount(choices[i]), choices[i].size()});
  }
  item.gold = gold;
  return item;
}

void LimitItems(MultipleChoiceSet& set, size_t limit) {
  set.available = set.items.size();
  for (const MultipleChoiceItem& item : set.items) {
    if (!set.subsets.empty()) ++set.subsets[item.subset].available;
  }
  if (limit == 0) return;
  std::vector<size_t> kept(std::max<size_t>(1, set.subsets.size()));
  std::erase_if(set.items, [&](const MultipleChoiceItem& item) { return ++kept[item.subset] > limit; });
}

namespace {

struct Prompt {
  size_t shots = 0;
  std::vector<int32_t> ids;
};

Prompt FitPrompt(const Tokenizer& tokenizer, const MultipleChoiceSet& set, const MultipleChoiceItem& item,
                 const PairOptions& options) {
  for (Prompt prompt{set.shots, {}};; --prompt.shots) {
    prompt.ids = EncodeText(tokenizer, ContextOf(set, item, 0, prompt.shots), options);
    if (prompt.ids.size() <= set.max_prompt) return prompt;
    if (prompt.shots > 0) continue;
    throw Error(ErrorKind::kContent, Place().Item(fmt::format("subject {}", set.subsets[item.subset].name)),
                fmt::format("a question of {} tokens without any example, expected at most {}",
                            prompt.ids.size(), set.max_prompt));
  }
}

// Context and choices each by themselves: the tokenizer may not join across the border.
std::vector<TokenPair> EncodeApart(const Tokenizer& tokenizer, const MultipleChoiceSet& set,
                                   const MultipleChoiceItem& item, const PairOptions& options) {
  const Prompt prompt = FitPrompt(tokenizer, set, item, options);
  std::vector<TokenPair> pairs;
  for (const std::string& choice : item.continuations)
    pairs.push_back({prompt.ids, tokenizer.Encode(choice, false)});
  return pairs;
}

}  // namespace

size_t ShotsOf(const Tokenizer& tokenizer, const MultipleChoiceSet& set, const MultipleChoiceItem& item,
               const PairOptions& options) {
  return set.max_prompt == 0 ? set.shots : FitPrompt(tokenizer, set, item, options).shots;
}

std::vector<TokenPair> EncodeItem(const Tokenizer& tokenizer, const MultipleChoiceSet& set,
                                  const MultipleChoiceItem& item, const PairOptions& options) {
  if (set.max_prompt > 0) return EncodeApart(tokenizer, set, item, options);
  std::vector<TokenPair> pairs;
  for (size_t choice = 0; choice < item.lengths.size(); ++choice) {
    pairs.push_back(
        EncodePair(tokenizer, ContextOf(set, item, choice), ContinuationOf(item, choice), options));
  }
  return pairs;
}

std::vector<ContinuationRequest> RequestsOf(const Tokenizer& tokenizer, const MultipleChoiceSet& set,
                                            const PairOptions& options, size_t max_length) {
  std::vector<ContinuationRequest> requests;
  for (const MultipleChoiceItem& item : set.items) {
    std::vector<TokenPair> pairs = EncodeItem(tokenizer, set, item, options);
    for (size_t choice = 0; choice < pairs.size(); ++choice) {
      if (choice == 0 || item.contexts.size() > 1)
        requests.push_back({std::move(pairs[choice].context), {}, max_length});
      requests.back().continuations.push_back(std::move(pairs[choice].continuation));
    }
  }
  return requests;
}

ItemScore Judge(std::vector<double> log_likelihoods, const MultipleChoiceItem& item) {
  ItemScore score{std::move(log_likelihoods), item.gold};
  const auto is_gold = [&](const auto& length) { return BestOf(score.log_likelihoods, length) == item.gold; };
  score.acc = is_gold([](size_t) { return 1.0; });
  score.acc_norm = is_gold([&](size_t i) { return static_cast<double>(item.lengths[i].characters); });
  score.acc_bytes = is_gold([&](size_t i) { return static_cast<double>(item.lengths[i].bytes); });
  return score;
}

std::vector<ItemScore> JudgeItems(const MultipleChoiceSet& set,
                                  std::span<const std::vector<ContinuationScore>> scores) {
  std::vector<ItemScore> results;
  size_t request = 0;
  for (const MultipleChoiceItem& item : set.items) {
    std::vector<double> log_likelihoods;
    std::vector<uint8_t> is_greedy;
    for (size_t i = 0; i < item.contexts.size(); ++i) {
      for (const ContinuationScore& score : scores[request]) {
        log_likelihoods.push_back(score.log_likelihood);
        is_greedy.push_back(score.is_greedy ? 1 : 0);
      }
      ++request;
    }
    ItemScore& result = results.emplace_back(Judge(std::move(log_likelihoods), item));
    result.is_greedy = std::move(is_greedy);
    if (!set.subsets.empty()) result.subset = set.subsets[item.subset].name;
  }
  return results;
}

std::optional<double> PooledStdError(std::span<const SubsetError> subsets) {
  double squares = 0;
  size_t items = 0;
  for (const SubsetError& subset : subsets) {
    const double error = subset.std_error.value_or(0), n = static_cast<double>(subset.items);
    squares += (n - 1) * n * error * error;
    items += subset.items;
  }
  if (items <= subsets.size()) return std::nullopt;
  return std::sqrt(squares / static_cast<double>(items - subsets.size()) / static_cast<double>(items));
}

}  // namespace lowbit
