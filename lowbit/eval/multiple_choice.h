// SPDX-License-Identifier: Apache-2.0
// Multiple choice as lm-evaluation-harness asks it: which continuation does the model find the most likely? Items
// are texts already rendered; here is what is made of them and of their scores. docs/evaluation.md.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lowbit/eval/scorer.h"
#include "lowbit/text/pair.h"

namespace lowbit {

struct ChoiceLength {
  size_t characters = 0;  // code points, without the delimiter: what acc_norm divides by
  size_t bytes = 0;       // of UTF-8: what acc_bytes divides by
};

struct MultipleChoiceItem {
  std::vector<std::string> contexts;       // one for all choices, or one for each
  std::vector<std::string> continuations;  // the same, with the delimiter in front
  std::vector<ChoiceLength> lengths;       // of each choice: at least two
  size_t gold = 0;
  size_t subset = 0;
};

// A part of a task that has a number of its own: a subject of MMLU.
struct TaskSubset {
  std::string name;
  std::string category;  // subsets of one category are also averaged
  std::string prefix;    // stands before the context of each of its items: header and examples
  size_t available = 0;  // items of its file, before LimitItems
  // Where the prefix ends with 0, 1, … examples; needed where set.max_prompt says that some may have to go.
  std::vector<size_t> prefix_ends = {};
};

// A task's data, read, checked and rendered.
struct MultipleChoiceSet {
  std::string task = {};                           // "piqa"
  std::string source = {};                         // "PIQA validation"
  std::string asked_by = "lm-evaluation-harness";  // whose prompts and scores these are
  size_t official_items = 0;                       // of the whole split
  bool normalizes = false;                         // acc_norm is reported beside acc
  size_t shots = 0;
  // Choices are tokens by themselves, and a prompt of more than max_prompt tokens loses its last examples, one at a
  // time: as the script of Hendrycks et al. asks MMLU. 0: as lm-evaluation-harness.
  size_t max_prompt = 0;
  std::vector<TaskSubset> subsets = {};  // none: the task is one
  size_t official_subsets = 0;
  std::vector<MultipleChoiceItem> items = {};
  size_t available = 0;        // items of its files, before LimitItems
  std::string data_hash = {};  // SHA-256 of the file, or of the list of files and their hashes
};

// Text of choice `choice`: what the model is given, and what is scored. With the first `shots` examples at most.
std::string ContextOf(const MultipleChoiceSet& set, const MultipleChoiceItem& item, size_t choice,
                      size_t shots = SIZE_MAX);
const std::string& ContinuationOf(const MultipleChoiceItem& item, size_t choice);

// How many examples item's prompt keeps: all, or as many as max_prompt leaves. Throws Error{kContent} for a question
// that does not fit by itself.
size_t ShotsOf(const Tokenizer& tokenizer, const MultipleChoiceSet& set, const MultipleChoiceItem& item,
               const PairOptions& options);

// An item whose choices follow one context, with `delimiter` between. Throws Error{kContent} at `place` for an empty
// choice: a score divided by its length would mean nothing.
MultipleChoiceItem ItemOf(std::string context, std::span<const std::string> choices, size_t gold,
                          const Place& place, std::string_view delimiter = " ");

// Keeps the first `limit` items of each subset, or of all where there are none. 0 keeps everything.
void LimitItems(MultipleChoiceSet& set, size_t limit);

// The token ids of each choice of an item.
std::vector<TokenPair> EncodeItem(const Tokenizer& tokenizer, const MultipleChoiceSet& set,
                                  const MultipleChoiceItem& item, const PairOptions& options);

// What is to be scored, item by item: one request where all choices have one context, else one for each.
std::vector<ContinuationRequest> RequestsOf(const Tokenizer& tokenizer, const MultipleChoiceSet& set,
                                            const PairOptions& options, size_t max_length);

// Log-likelihoods of an item's choices, and whether its best one is the right one: by the score, by the score for
// each character, and for each byte. The lowest index wins a tie.
struct ItemScore {
  std::vector<double> log_likelihoods;
  size_t gold = 0;
  bool acc = false, acc_norm = false, acc_bytes = false;
  std::string subset = {};              // its name; empty where the task is one
  size_t shots = SIZE_MAX;              // examples that it was given, at most those of the set
  std::vector<uint8_t> is_greedy = {};  // of each choice: every token was the most likely one
};
ItemScore Judge(std::vector<double> log_likelihoods, const MultipleChoiceItem& item);

// Scores in the order of RequestsOf, item by item.
std::vector<ItemScore> JudgeItems(const MultipleChoiceSet& set,
                                  std::span<const std::vector<ContinuationScore>> scores);

// Standard error of the mean over all items of several subsets: that of their pooled variance. nullopt where all
// have one item. A subset of one item has no error of its own and counts without.
struct SubsetError {
  size_t items = 0;
  std::optional<double> std_error;
};
std::optional<double> PooledStdError(std::span<const SubsetError> subsets);

}  // namespace lowbit
