// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <filesystem>
#include <iterator>

#include "lowbit/base/log.h"
#include "lowbit/eval/corpus.h"
#include "lowbit/eval/data_files.h"
#include "lowbit/eval/multiple_choice_task.h"
#include "lowbit/eval/perplexity.h"
#include "lowbit/eval/tasks/readers.h"

namespace lowbit {
namespace fs = std::filesystem;
namespace {

constexpr size_t kPaperWindow = 2048;

// Perplexity over one text; the tasks differ in where the text comes from.
class PerplexityTask : public Task {
 public:
  PerplexityTask(std::string name, std::string source, Corpus corpus, const TaskOptions& options)
      : name_(std::move(name)),
        source_(std::move(source)),
        corpus_(std::move(corpus)),
        window_(options.window == 0 ? kPaperWindow : options.window),
        windows_(options.windows) {}

  std::string Name() const override { return name_; }
  std::string DataHash() const override { return corpus_.file_hash; }
  std::string Settings() const override {
    return fmt::format("perplexity v1 {} window={} windows={}", source_, window_, windows_);
  }

  ForwardJob Job(const Tokenizer& tokenizer, const ModelConfig&) const override {
    const size_t sequences = WindowCount(Ids(tokenizer).size(), window_, windows_);
    const size_t rows = window_ - 1;
    return {.sequences = sequences, .rows = sequences * rows, .longest = rows, .scored = sequences * rows};
  }

  bool ComparesModels() const override { return true; }

  TaskResult Run(const Scorer& scorer, const Tokenizer& tokenizer, Reference* reference) const override {
    const TokenIds& ids = Ids(tokenizer);
    const ModelConfig& config = scorer.decoder().source().config();
    if (window_ > config.max_position_embeddings) {
      LogWarning(fmt::format("windows of {} tokens are longer than the model's max_position_embeddings {}",
                             window_, config.max_position_embeddings));
    }
    const PerplexityResult r = PerplexityOf(scorer, ids, window_, windows_, reference);
    const size_t specials = tokenizer.Encode("").size();
    TaskResult result;
    result.task = name_;
    result.data_hash = corpus_.file_hash;
    result.protocol = fmt::format(
        "GPTQ-style perplexity of {}: one encoding of the whole text ({} tokens, {}), {} of {} windows of {} "
        "tokens, "
        "each from position 0, tail dropped; exp of the mean of window means",
        source_, ids.size(), specials == 0 ? "no BOS" : "BOS once", r.window_nll.size(), ids.size() / window_,
        window_);
    result.measurements.push_back({"perplexity", r.perplexity, r.std_error, r.predicted_tokens, false});
    for (const double loss : r.window_nll) result.windows.push_back({.loss = loss});
    if (!r.divergence.empty())
      std::ranges::move(DivergenceOf(r.divergence), std::back_inserter(result.measurements));
    return result;
  }

 private:
  // Planning and running ask for the same tokenizer's ids, one after the other.
  const TokenIds& Ids(const Tokenizer& tokenizer) const {
    if (ids_of_ != tokenizer.Hash()) {
      ids_ = tokenizer.Encode(corpus_.text);
      ids_of_ = tokenizer.Hash();
    }
    return ids_;
  }

  std::string name_, source_;
  Corpus corpus_;
  size_t window_, windows_;
  mutable std::string ids_of_;
  mutable TokenIds ids_;
};

std::unique_ptr<Task> MakeWikiText2(std::string_view, const TaskOptions& options) {
  constexpr std::array<std::string_view, 1> kNames = {"wikitext2/wiki.test.raw"};
  Corpus corpus = ReadWikiText(FindDataFile(kNames, options));
  return std::make_unique<PerplexityTask>("wikitext2", "WikiText-2 raw test", std::move(corpus), options);
}

std::unique_ptr<Task> MakeText(std::string_view file, const TaskOptions& options) {
  Corpus corpus = ReadPlainText(std::string(file));
  const std::string name = fs::path(file).filename().string();
  return std::make_unique<PerplexityTask>(fmt::format("text:{}", name), name, std::move(corpus), options);
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
      {"piqa", "which of two ways reaches a goal; acc, acc_norm", &MakeChoices<&ReadPiqa>},
      {"arc_easy", "easy questions of science exams; acc, acc_norm", &MakeChoices<&ReadArcEasy>},
      {"arc_challenge", "hard questions of science exams; acc, acc_norm", &MakeChoices<&ReadArcChallenge>},
      {"hellaswag", "which ending continues a text; acc, acc_norm", &MakeChoices<&ReadHellaSwag>},
      {"winogrande", "which word fills a blank; acc", &MakeChoices<&ReadWinoGrande>},
      {"boolq", "yes or no, from a passage; acc", &MakeChoices<&ReadBoolQ>},
      {"mmlu", "questions of 57 subjects; acc over questions, over subjects, of four categories",
       &MakeChoices<&ReadMmlu>},
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
  const auto any = [&](bool of_choices) {
    return std::ranges::any_of(
        tasks, [&](const std::unique_ptr<Task>& task) { return (task->Choices() != nullptr) == of_choices; });
  };
  const auto require = [](bool is_set, bool is_used, std::string_view what, std::string_view of) {
    if (is_set && !is_used)
      throw Error(ErrorKind::kUsage, fmt::format("{} is for {}, expected one among the tasks", what, of));
  };
  constexpr std::string_view kText = "perplexity of texts", kChoice = "multiple-choice tasks";
  require(options.window > 0, any(false), "a window", kText);
  require(options.windows > 0, any(false), "a number of windows", kText);
  require(options.limit > 0, any(true), "a limit", kChoice);
  require(options.shots.has_value(), any(true), "a number of shots", kChoice);
  require(options.bos != BosRule::kAuto, any(true), "a rule for BOS", kChoice);
}

}  // namespace lowbit
