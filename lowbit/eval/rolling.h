// SPDX-License-Identifier: Apache-2.0
// Log-likelihood of whole texts, however long, as lm-evaluation-harness's loglikelihood_rolling computes it, and
// perplexity per word and byte from it. docs/evaluation.md.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "lowbit/eval/task.h"

namespace lowbit {

// A model is fed ids but the last; ids[first_scored ..] are scored.
struct RollingWindow {
  TokenIds ids;
  size_t first_scored = 1;
};

// Windows that score every token of a text once, in order, with at most `max_length` ≥ 1 tokens fed. The first begins
// with `prefix`; each further one scores the next max_length tokens, or what is left, and is fed the max_length
// tokens before the last of them: a full one sees one token that was scored before, a short last one many.
std::vector<RollingWindow> RollingWindows(std::span<const int32_t> ids, int32_t prefix, size_t max_length);

struct RollingText {
  std::string text;             // what is scored
  size_t words = 0, bytes = 0;  // what its log-likelihood is divided by: those of the text as it was
};

struct RollingSet {
  std::string task;       // "wikitext"
  std::string source;     // "WikiText-2 raw test"
  std::string data_hash;  // SHA-256
  std::vector<RollingText> texts;
};

// Takes window (as max_length; default: the model's max_position_embeddings), limit and bos of `options`. Measures
// "word_perplexity", "byte_perplexity" and "bits_per_byte" of sums over all texts; standard errors are those of a ratio
// of sums over texts, to first order.
std::unique_ptr<Task> MakeRollingTask(RollingSet set, const TaskOptions& options);

}  // namespace lowbit
