// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/perplexity_task.h"

#include <algorithm>
#include <iterator>

#include "lowbit/base/log.h"
#include "lowbit/eval/perplexity.h"

namespace lowbit {
namespace {

class PerplexityTask : public Task {
 public:
  PerplexityTask(WindowSource source, const TaskOptions& options)
      : source_(std::move(source)),
        window_(options.window == 0 ? kPaperWindow : options.window),
        windows_(options.windows) {}

  std::string Name() const override { return source_.task; }
  std::string DataHash() const override { return source_.data_hash; }
  std::string Settings() const override {
    return fmt::format("perplexity v1 {} window={} windows={}", source_.text, window_, windows_);
  }
  bool Takes(TaskOption option) const override {
    return option == TaskOption::kWindow || option == TaskOption::kWindows;
  }

  ForwardJob Job(const Tokenizer& tokenizer, const ModelConfig&) const override {
    const size_t sequences = WindowCount(Tokens(tokenizer).ids.size(), window_, windows_);
    const size_t rows = window_ - 1;
    return {.sequences = sequences, .rows = sequences * rows, .longest = rows, .scored = sequences * rows};
  }

  bool ComparesModels() const override { return true; }

  TaskResult Run(const Scorer& scorer, const Tokenizer& tokenizer, Reference* reference) const override {
    const WindowTokens& tokens = Tokens(tokenizer);
    const ModelConfig& config = scorer.decoder().source().config();
    if (window_ > config.max_position_embeddings) {
      LogWarning(fmt::format("windows of {} tokens are longer than the model's max_position_embeddings {}",
                             window_, config.max_position_embeddings));
    }
    const PerplexityResult r = PerplexityOf(scorer, tokens.ids, window_, windows_, reference);
    TaskResult result;
    result.task = source_.task;
    result.data_hash = source_.data_hash;
    result.protocol = fmt::format(
        "GPTQ-style perplexity of {}: {}, {} of {} windows of {} tokens, each from position 0, tail dropped; "
        "exp of the mean of window means",
        source_.text, tokens.how, r.window_nll.size(), tokens.whole_windows, window_);
    result.measurements.push_back({"perplexity", r.perplexity, r.std_error, r.predicted_tokens, false});
    for (const double loss : r.window_nll) result.windows.push_back({.loss = loss});
    if (!r.divergence.empty())
      std::ranges::move(DivergenceOf(r.divergence), std::back_inserter(result.measurements));
    return result;
  }

 private:
  // Planning and running ask for the same tokenizer's tokens, one after the other.
  const WindowTokens& Tokens(const Tokenizer& tokenizer) const {
    if (tokens_of_ != tokenizer.Hash()) {
      tokens_ = source_.tokens(tokenizer, window_, windows_);
      tokens_of_ = tokenizer.Hash();
    }
    return tokens_;
  }

  WindowSource source_;
  size_t window_, windows_;
  mutable std::string tokens_of_;
  mutable WindowTokens tokens_;
};

}  // namespace

std::string BosText(const Tokenizer& tokenizer) {
  return tokenizer.Encode("").empty() ? "no BOS" : "BOS once";
}

std::unique_ptr<Task> MakePerplexityTask(WindowSource source, const TaskOptions& options) {
  return std::make_unique<PerplexityTask>(std::move(source), options);
}

}  // namespace lowbit
