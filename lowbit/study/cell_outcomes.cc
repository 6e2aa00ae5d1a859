// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/cell_outcomes.h"

#include <fmt/ranges.h>

#include <cmath>

#include "lowbit/base/json.h"

namespace lowbit {
namespace {

std::vector<double> Numbers(const std::string& text, const Place& place) {
  const Json json = ParseJson(text, place);
  bool is_list = json.is_array() && json.size() >= 2;
  for (const Json& number : json) is_list = is_list && number.is_number();
  if (!is_list)
    throw Error(
        ErrorKind::kContent, place,
        fmt::format("log-likelihoods are {}, expected numbers of two choices or more", JsonPreview(json)));
  return json.get<std::vector<double>>();
}

std::vector<Answer> ReadAnswers(const SqliteFile& file, int64_t cell) {
  std::vector<Answer> answers;
  SqliteStatement rows(file, R"(SELECT subset, gold, log_likelihoods, acc, acc_norm FROM answers
                                WHERE cell_id = ? ORDER BY item)");
  rows.Bind(cell);
  while (rows.Step()) {
    Answer& answer = answers.emplace_back();
    std::string numbers;
    rows.Get(answer.subset);
    rows.Get(answer.gold);
    rows.Get(numbers);
    rows.Get(answer.acc);
    rows.Get(answer.acc_norm);
    const Place place =
        Place(file.path()).Item(fmt::format("answers of cells row {}, item {}", cell, answers.size() - 1));
    answer.log_likelihoods = Numbers(numbers, place);
  }
  return answers;
}

}  // namespace

void PutOutcomes(const SqliteFile& file, int64_t cell, const Outcomes& outcomes) {
  SqliteStatement answers(file, "INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)");
  for (size_t i = 0; i < outcomes.answers.size(); ++i) {
    const Answer& a = outcomes.answers[i];
    answers.Reset();
    answers.Bind(cell).Bind(uint64_t{i}).Bind(a.subset).Bind(a.gold);
    answers.Bind(fmt::format("[{}]", fmt::join(a.log_likelihoods, ","))).Bind(a.acc).Bind(a.acc_norm).Step();
  }
  SqliteStatement windows(file, "INSERT INTO windows VALUES (?, ?, ?, ?)");
  for (size_t i = 0; i < outcomes.windows.size(); ++i) {
    const WindowLoss& w = outcomes.windows[i];
    windows.Reset();
    windows.Bind(cell).Bind(uint64_t{i}).Bind(w.loss).Bind(w.weight).Step();
  }
}

Outcomes ReadOutcomes(const SqliteFile& file, int64_t cell) {
  Outcomes outcomes;
  outcomes.answers = ReadAnswers(file, cell);
  SqliteStatement rows(file, "SELECT loss, weight FROM windows WHERE cell_id = ? ORDER BY position");
  rows.Bind(cell);
  while (rows.Step()) {
    WindowLoss& window = outcomes.windows.emplace_back();
    rows.Get(window.loss);
    rows.Get(window.weight);
  }
  return outcomes;
}

std::string BadOutcomes(const Outcomes& outcomes) {
  for (size_t i = 0; i < outcomes.answers.size(); ++i) {
    const Answer& answer = outcomes.answers[i];
    if (answer.gold >= answer.log_likelihoods.size())
      return fmt::format("answer {} has {} choices, the right one is {}", i, answer.log_likelihoods.size(),
                         answer.gold);
    for (const double value : answer.log_likelihoods) {
      if (!std::isfinite(value)) return fmt::format("a log-likelihood of answer {} is {}", i, value);
    }
  }
  for (size_t i = 0; i < outcomes.windows.size(); ++i) {
    const WindowLoss& window = outcomes.windows[i];
    if (!std::isfinite(window.loss)) return fmt::format("the loss of window {} is {}", i, window.loss);
    if (!std::isfinite(window.weight) || window.weight <= 0)
      return fmt::format("the weight of window {} is {}", i, window.weight);
  }
  return "";
}

}  // namespace lowbit
