// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/rolling.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "lowbit/base/log.h"

namespace lowbit {
namespace {

struct Ratio {
  double value = 0;
  std::optional<double> std_error;  // none for one text
};

// Σ a / Σ b; the error from how far each a is from what the ratio makes of its b.
Ratio RatioOf(std::span<const double> a, std::span<const double> b) {
  double sum_a = 0, sum_b = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    sum_a += a[i];
    sum_b += b[i];
  }
  Ratio ratio{sum_a / sum_b, std::nullopt};
  if (a.size() < 2) return ratio;
  double squares = 0;
  for (size_t i = 0; i < a.size(); ++i) squares += (a[i] - ratio.value * b[i]) * (a[i] - ratio.value * b[i]);
  const auto n = static_cast<double>(a.size());
  ratio.std_error = std::sqrt(squares * n / (n - 1)) / sum_b;
  return ratio;
}

// Of one tokenizer and max_length.
struct Windows {
  std::vector<RollingWindow> all;
  std::vector<size_t> counts;  // of each text
  size_t tokens = 0;           // that are scored

  std::vector<ScoreRequest> Requests() const {
    std::vector<ScoreRequest> requests;
    for (const RollingWindow& window : all) requests.push_back({window.ids, window.first_scored});
    return requests;
  }
};

class RollingTask : public Task {
 public:
  RollingTask(RollingSet set, const TaskOptions& options)
      : set_(std::move(set)),
        official_(set_.texts.size()),
        max_length_(options.window),
        limit_(options.limit),
        bos_(options.bos) {
    if (limit_ > 0 && limit_ < set_.texts.size()) set_.texts.resize(limit_);
  }

  std::string Name() const override { return set_.task; }
  std::string DataHash() const override { return set_.data_hash; }
  std::string Settings() const override {
    return fmt::format("rolling v1 {} max_length={} limit={} bos={}", set_.source,
                       max_length_ == 0 ? "model" : std::to_string(max_length_), limit_, lowbit::Name(bos_));
  }
  bool Takes(TaskOption option) const override {
    return option == TaskOption::kWindow || option == TaskOption::kLimit || option == TaskOption::kBos;
  }

  ForwardJob Job(const Tokenizer& tokenizer, const ModelConfig& config) const override {
    return Decoder::JobOf(WindowsOf(tokenizer, config).Requests());
  }

  TaskResult Run(const Scorer& scorer, const Tokenizer& tokenizer, Reference*) const override {
    const ModelConfig& config = scorer.decoder().source().config();
    const size_t max_length = MaxLength(config);
    if (max_length > config.max_position_embeddings) {
      LogWarning(fmt::format("windows of {} tokens are longer than the model's max_position_embeddings {}",
                             max_length, config.max_position_embeddings));
    }
    const Windows& windows = WindowsOf(tokenizer, config);
    TaskResult result;
    result.task = set_.task;
    result.data_hash = set_.data_hash;
    result.protocol = Protocol(tokenizer, windows, max_length);
    Measure(windows, scorer.ScoreTokens(windows.Requests()), result);
    return result;
  }

 private:
  size_t MaxLength(const ModelConfig& config) const {
    return max_length_ == 0 ? config.max_position_embeddings : max_length_;
  }

  // Planning and running ask for the same tokenizer's windows, one after the other.
  const Windows& WindowsOf(const Tokenizer& tokenizer, const ModelConfig& config) const {
    const std::string key = fmt::format("{} {}", tokenizer.Hash(), MaxLength(config));
    if (windows_of_ != key) {
      windows_ = Cut(tokenizer, MaxLength(config));
      windows_of_ = key;
    }
    return windows_;
  }

  Windows Cut(const Tokenizer& tokenizer, size_t max_length) const {
    Windows windows;
    const PairOptions options{.bos = bos_};
    const int32_t prefix = PrefixToken(tokenizer, options);
    for (const RollingText& text : set_.texts) {
      const TokenIds ids = EncodeText(tokenizer, text.text, options);
      std::vector<RollingWindow> own = RollingWindows(ids, prefix, max_length);
      windows.counts.push_back(own.size());
      windows.tokens += ids.size();
      std::ranges::move(own, std::back_inserter(windows.all));
    }
    if (windows.tokens == 0)
      throw Error(ErrorKind::kContent, fmt::format("{} has no tokens, expected text", set_.source));
    return windows;
  }

  void Measure(const Windows& windows, const std::vector<std::vector<TokenScore>>& scores,
               TaskResult& result) const {
    std::vector<double> nll, words, bytes;
    auto window = scores.begin();
    for (size_t i = 0; i < set_.texts.size(); ++i) {
      nll.push_back(0);
      for (size_t w = 0; w < windows.counts[i]; ++w, ++window) {
        for (const TokenScore& token : *window) nll.back() -= token.log_prob;
      }
      words.push_back(static_cast<double>(set_.texts[i].words));
      bytes.push_back(static_cast<double>(set_.texts[i].bytes));
      result.windows.push_back({.loss = nll.back() / words.back(), .weight = words.back()});
    }
    const Ratio per_word = RatioOf(nll, words), per_byte = RatioOf(nll, bytes);
    result.measurements = {
        PerplexityFrom("word_perplexity", per_word, windows.tokens),
        PerplexityFrom("byte_perplexity", per_byte, windows.tokens),
        {"bits_per_byte", per_byte.value / std::numbers::ln2,
         per_byte.std_error ? std::optional(*per_byte.std_error / std::numbers::ln2) : std::nullopt,
         windows.tokens, false}};
  }

  static Measurement PerplexityFrom(std::string name, const Ratio& nll, size_t tokens) {
    const double value = std::exp(nll.value);
    if (!std::isfinite(value)) {
      throw Error(ErrorKind::kNumeric,
                  fmt::format("mean loss {} nats: its {} is not finite", nll.value, name));
    }
    // d exp(m) = exp(m) dm.
    return {std::move(name), value, nll.std_error ? std::optional(value * *nll.std_error) : std::nullopt,
            tokens, false};
  }

  std::string Protocol(const Tokenizer& tokenizer, const Windows& windows, size_t max_length) const {
    const bool has_bos = BeginsWithBos(tokenizer, bos_);
    return fmt::format(
        "rolling log-likelihood as lm-evaluation-harness's task {} asks for it, {}: {} of {} pages, {} "
        "tokens in {} "
        "windows, max_length {}, prefix token {}, {} (--bos {}); per word and per byte of the pages as they "
        "are",
        set_.task, set_.source, set_.texts.size(), official_, windows.tokens, windows.all.size(), max_length,
        PrefixToken(tokenizer, {.bos = bos_}), has_bos ? "BOS scored too" : "no BOS", lowbit::Name(bos_));
  }

  RollingSet set_;
  size_t official_, max_length_, limit_;
  BosRule bos_;
  mutable std::string windows_of_;
  mutable Windows windows_;
};

}  // namespace

std::vector<RollingWindow> RollingWindows(std::span<const int32_t> ids, int32_t prefix, size_t max_length) {
  std::vector<RollingWindow> windows;
  if (ids.empty()) return windows;
  const std::span<const int32_t> first = ids.first(std::min(max_length, ids.size()));
  windows.push_back({{prefix}, 1});
  windows[0].ids.insert(windows[0].ids.end(), first.begin(), first.end());
  for (size_t scored = first.size(); scored < ids.size();) {
    const size_t count = std::min(max_length, ids.size() - scored);
    scored += count;
    const std::span<const int32_t> seen = ids.subspan(scored - max_length - 1, max_length + 1);
    windows.push_back({{seen.begin(), seen.end()}, max_length + 1 - count});
  }
  return windows;
}

std::unique_ptr<Task> MakeRollingTask(RollingSet set, const TaskOptions& options) {
  return std::make_unique<RollingTask>(std::move(set), options);
}

}  // namespace lowbit
