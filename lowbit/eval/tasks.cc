// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <filesystem>

#include "lowbit/eval/corpus.h"
#include "lowbit/eval/data_files.h"
#include "lowbit/eval/multiple_choice_task.h"
#include "lowbit/eval/perplexity_task.h"
#include "lowbit/eval/tasks/c4.h"
#include "lowbit/eval/tasks/readers.h"
#include "lowbit/eval/tasks/wikitext.h"

namespace lowbit {
namespace fs = std::filesystem;
namespace {

// One encoding of all of it.
WindowSource SourceOf(std::string task, std::string text, Corpus corpus) {
  WindowSource source{std::move(task), std::move(text), corpus.file_hash, {}};
  source.tokens = [content = std::move(corpus.text)](const Tokenizer& tokenizer, size_t window, size_t) {
    WindowTokens tokens;
    tokens.ids = tokenizer.Encode(content);
    tokens.whole_windows = tokens.ids.size() / window;
    tokens.how =
        fmt::format("one encoding of the whole text ({} tokens, {})", tokens.ids.size(), BosText(tokenizer));
    return tokens;
  };
  return source;
}

std::unique_ptr<Task> MakeWikiText2(std::string_view, const TaskOptions& options) {
  constexpr std::array<std::string_view, 1> kNames = {"wikitext2/wiki.test.raw"};
  Corpus corpus = ReadWikiText(FindDataFile(kNames, options));
  return MakePerplexityTask(SourceOf("wikitext2", "WikiText-2 raw test", std::move(corpus)), options);
}

std::unique_ptr<Task> MakeText(std::string_view file, const TaskOptions& options) {
  Corpus corpus = ReadPlainText(std::string(file));
  const std::string name = fs::path(file).filename().string();
  return MakePerplexityTask(SourceOf(fmt::format("text:{}", name), name, std::move(corpus)), options);
}

std::unique_ptr<Task> MakeWikiTextPages(std::string_view, const TaskOptions& options) {
  return MakeRollingTask(ReadWikiTextPages(options), options);
}

template <WindowSource (*Read)(const TaskOptions&)>
std::unique_ptr<Task> MakeWindows(std::string_view, const TaskOptions& options) {
  return MakePerplexityTask(Read(options), options);
}

template <MultipleChoiceSet (*Read)(const TaskOptions&)>
std::unique_ptr<Task> MakeChoices(std::string_view, const TaskOptions& options) {
  return MakeMultipleChoiceTask(Read(options), options);
}

}  // namespace

const std::vector<TaskInfo>& Tasks() {
  static const std::vector<TaskInfo> tasks = {
      {"wikitext2", "perplexity of the WikiText-2 raw test split", &MakeWikiText2},
      {"text:", "perplexity of a UTF-8 text file, e.g. text:notes.txt", &MakeText},
      {"c4-new", "perplexity of C4's first 1,100 validation texts, as GPTQ's --new-eval",
       &MakeWindows<&ReadC4New>},
      {"c4", "perplexity of 256 windows drawn from C4's validation texts, as GPTQ's get_c4",
       &MakeWindows<&ReadC4>},
      {"c4@study", "perplexity of the 256 windows of the Qwen3 quantization study",
       &MakeWindows<&ReadC4Study>},
      {"wikitext", "perplexity of WikiText-2's test pages per word and byte, as lm-evaluation-harness",
       &MakeWikiTextPages},
      {"piqa", "which of two ways reaches a goal; acc, acc_norm", &MakeChoices<&ReadPiqa>},
      {"arc_easy", "easy questions of science exams; acc, acc_norm", &MakeChoices<&ReadArcEasy>},
      {"arc_challenge", "hard questions of science exams; acc, acc_norm", &MakeChoices<&ReadArcChallenge>},
      {"hellaswag", "which ending continues a text; acc, acc_norm", &MakeChoices<&ReadHellaSwag>},
      {"winogrande", "which word fills a blank; acc", &MakeChoices<&ReadWinoGrande>},
      {"boolq", "yes or no, from a passage; acc", &MakeChoices<&ReadBoolQ>},
      {"mmlu", "questions of 57 subjects; acc over questions, over subjects, of four categories",
       &MakeChoices<&ReadMmlu>},
      {"mmlu@study", "the same as the Qwen3 quantization study asks them: bare letters, 5 examples",
       &MakeChoices<&ReadMmluStudy>},
  };
  return tasks;
}

std::unique_ptr<Task> MakeTask(std::string_view name, const TaskOptions& options) {
  std::string known;
  for (const TaskInfo& task : Tasks()) {
    const bool takes_file = task.name.ends_with(':');
    if (takes_file && name.starts_with(task.name) && name.size() > task.name.size()) {
      return task.make(name.substr(task.name.size()), options);
    }
    if (!takes_file && name == task.name) return task.make("", options);
    known += fmt::format("{}{}{}", known.empty() ? "" : ", ", task.name, takes_file ? "FILE" : "");
  }
  throw Error(ErrorKind::kUsage, fmt::format("task '{}' is not known; tasks: {}", Printable(name), known));
}

void RequireUsed(const TaskOptions& options, std::span<const std::unique_ptr<Task>> tasks) {
  const auto require = [&](bool is_set, TaskOption option, std::string_view what, std::string_view of) {
    const auto takes = [&](const std::unique_ptr<Task>& task) { return task->Takes(option); };
    if (is_set && std::ranges::none_of(tasks, takes))
      throw Error(ErrorKind::kUsage, fmt::format("{} is for {}, expected one among the tasks", what, of));
  };
  constexpr std::string_view kText = "perplexity of texts", kChoice = "multiple-choice tasks";
  constexpr std::string_view kHarness = "multiple-choice tasks and wikitext";
  require(options.window > 0, TaskOption::kWindow, "a window", kText);
  require(options.windows > 0, TaskOption::kWindows, "a number of windows", kText);
  require(options.limit > 0, TaskOption::kLimit, "a limit", kHarness);
  require(options.shots.has_value(), TaskOption::kShots, "a number of shots", kChoice);
  require(options.bos != BosRule::kAuto, TaskOption::kBos, "a rule for BOS", kHarness);
}

}  // namespace lowbit
