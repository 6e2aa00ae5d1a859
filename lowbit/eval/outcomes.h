// SPDX-License-Identifier: Apache-2.0
// What a model made of each part of a task, kept so that any two models can be compared part by part.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lowbit {

// To one question of a multiple-choice task.
struct Answer {
  std::string subset;                   // MMLU's subject; empty where a task is one
  uint32_t gold = 0;                    // the right choice, from 0
  std::vector<double> log_likelihoods;  // of the choices, natural logarithm
  bool acc = false;                     // the likeliest choice is the right one
  std::optional<bool> acc_norm;         // by log-likelihood per character, where the task has that metric

  bool operator==(const Answer&) const = default;
};

// Of one window or page of a text. A perplexity is exp(Σ weight loss / Σ weight) over all of them.
struct WindowLoss {
  double loss = 0;    // nats per token, or per word
  double weight = 1;  // > 0

  bool operator==(const WindowLoss&) const = default;
};

// Of one task: answers, or windows, in the task's order.
struct Outcomes {
  std::vector<Answer> answers;
  std::vector<WindowLoss> windows;

  bool operator==(const Outcomes&) const = default;
};

}  // namespace lowbit
