// SPDX-License-Identifier: Apache-2.0
// ARC, easy and challenge: science questions of school, with three to five answers.
#include <algorithm>
#include <array>

#include "lowbit/eval/data_files.h"
#include "lowbit/eval/tasks/readers.h"

namespace lowbit {
namespace {

struct Question {
  std::string text;
  std::vector<std::string> choices, labels;
};

// AI2's own files nest the choices in the question; others keep them in two lists.
Question ReadQuestion(const Json& row, const Place& place) {
  Question question;
  const Json& member = RequireMember(row, "question", place);
  if (!member.is_object()) {
    question.text = RequireString(row, "question", place);
    const Json& choices = RequireMember(row, "choices", place);
    if (!choices.is_object()) {
      throw Error(ErrorKind::kContent, place.Key("choices"),
                  fmt::format("is {}, expected an object of lists 'text' and 'label'", JsonPreview(choices)));
    }
    question.choices = RequireStrings(choices, "text", place.Key("choices"));
    question.labels = RequireStrings(choices, "label", place.Key("choices"));
    return question;
  }
  const Place inside = place.Key("question");
  question.text = RequireString(member, "stem", inside);
  const Json& choices = RequireMember(member, "choices", inside);
  if (!choices.is_array()) {
    throw Error(ErrorKind::kContent, inside.Key("choices"),
                fmt::format("is {}, expected a list", JsonPreview(choices)));
  }
  for (const Json& choice : choices) {
    if (!choice.is_object()) {
      throw Error(ErrorKind::kContent, inside.Key("choices"),
                  fmt::format("holds {}, expected objects", JsonPreview(choice)));
    }
    question.choices.push_back(RequireString(choice, "text", inside.Key("choices")));
    question.labels.push_back(RequireString(choice, "label", inside.Key("choices")));
  }
  return question;
}

// Labels are A … E in most items and 1 … 5 in some: the answer is looked up, never computed.
size_t GoldOf(const Json& row, const Question& question, const Place& place) {
  if (question.labels.size() != question.choices.size() || question.choices.size() < 2) {
    throw Error(ErrorKind::kContent, place.Key("choices"),
                fmt::format("has {} texts and {} labels, expected as many, at least 2",
                            question.choices.size(), question.labels.size()));
  }
  const std::string& key = RequireString(row, "answerKey", place);
  const auto gold = std::ranges::find(question.labels, key);
  if (std::ranges::count(question.labels, key) != 1) {
    throw Error(ErrorKind::kContent, place.Key("answerKey"),
                fmt::format("is '{}', expected one of the labels {}", Printable(key, 60),
                            Printable(fmt::format("{}", fmt::join(question.labels, ", ")), 100)));
  }
  return static_cast<size_t>(gold - question.labels.begin());
}

MultipleChoiceSet ReadArc(MultipleChoiceSet set, std::span<const std::string_view> names,
                          const TaskOptions& options) {
  RequireNoShots(options, set.task);
  set.normalizes = true;
  const std::array<std::string, 1> files = {FindDataFile(names, options)};
  ForEachRow(files[0], [&](const Place& place, const Json& row) {
    const Question question = ReadQuestion(row, place);
    const size_t gold = GoldOf(row, question, place);
    set.items.push_back(
        ItemOf(fmt::format("Question: {}\nAnswer:", question.text), question.choices, gold, place));
  });
  set.data_hash = HashOfFiles(files);
  return set;
}

}  // namespace

MultipleChoiceSet ReadArcEasy(const TaskOptions& options) {
  static constexpr std::array<std::string_view, 2> kNames = {"arc_easy/ARC-Easy-Test.jsonl",
                                                             "arc_easy/test.jsonl"};
  return ReadArc({.task = "arc_easy", .source = "ARC-Easy test", .official_items = 2376}, kNames, options);
}

MultipleChoiceSet ReadArcChallenge(const TaskOptions& options) {
  static constexpr std::array<std::string_view, 2> kNames = {"arc_challenge/ARC-Challenge-Test.jsonl",
                                                             "arc_challenge/test.jsonl"};
  return ReadArc({.task = "arc_challenge", .source = "ARC-Challenge test", .official_items = 1172}, kNames,
                 options);
}

}  // namespace lowbit
