// SPDX-License-Identifier: Apache-2.0
// Divergence against plain loops over all logits, and that nothing of how it is cut shows.
#include "lowbit/eval/divergence.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "lowbit/base/error_testing.h"
#include "lowbit/eval/perplexity.h"
#include "lowbit/tensor/dense_view.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

using testing::HasSubstr;

const std::string kModels = std::string(LOWBIT_TESTDATA) + "/models/";

// A checkpoint whose final norm, and on request head, are others.
class Changed : public LayerSource {
 public:
  Changed(const std::string& folder, float noise, bool changes_head = false) : source_(folder) {
    norm_ = source_.FinalNorm();
    const Matrix change = RandomMatrix(1, norm_.size(), 1, noise);
    for (size_t i = 0; i < norm_.size(); ++i) norm_[i] *= 1 + change.data()[i];
    if (!changes_head) return;
    head_ = RandomMatrix(Rows(source_.Head()), Cols(source_.Head()), 2, noise * 0.05f);
    Matrix was(head_.rows(), head_.cols());
    RowsToFloat(source_.Head(), 0, was.view());
    for (size_t i = 0; i < head_.rows() * head_.cols(); ++i) head_.data()[i] += was.data()[i];
  }
  std::vector<float>& norm() { return norm_; }

  const ModelConfig& config() const override { return source_.config(); }
  const ModelLayout& layout() const override { return source_.layout(); }
  LayerWeights Layer(size_t index) const override { return source_.Layer(index); }
  Weight Embedding() const override { return source_.Embedding(); }
  Weight Head() const override {
    if (head_.rows() == 0) return source_.Head();
    return DenseView(head_);
  }
  std::vector<float> FinalNorm() const override { return norm_; }
  uint64_t StoredBytes(size_t index) const override { return source_.StoredBytes(index); }
  void Prefetch(size_t) const override {}
  void Release(size_t) const override {}
  void ReleaseEmbeddingAndHead() const override {}

 private:
  CheckpointSource source_;
  std::vector<float> norm_;
  Matrix head_;
};

std::vector<TokenIds> Sequences() {
  std::vector<TokenIds> sequences;
  for (const size_t length : {9, 2, 31, 17}) {
    TokenIds& ids = sequences.emplace_back(length);
    for (size_t i = 0; i < length; ++i) ids[i] = static_cast<int32_t>((i * 37 + 11 * length) % 500);
  }
  return sequences;
}

std::vector<ScoreRequest> RequestsOf(const std::vector<TokenIds>& sequences, size_t first_scored = 1) {
  std::vector<ScoreRequest> requests;
  for (const TokenIds& ids : sequences) requests.push_back({ids, std::min(first_scored, ids.size() - 1)});
  return requests;
}

// How one comparison is computed.
struct Way {
  int threads = 2;
  MemoryBudget budget = {};
  size_t batch = 0;
  std::string backend = "cpu", compute = "f32";
};

ComparedScores Compare(const LayerSource& base, const LayerSource& other,
                       std::span<const ScoreRequest> requests, const Way& way = {}) {
  const Threads threads(way.threads);
  const std::unique_ptr<Backend> backend = MakeBackend(way.backend, way.compute, threads);
  const Decoder decoder(other, *backend, way.budget);
  Reference reference(base, *backend, way.budget);
  return reference.ScoreTokens(Scorer(decoder, way.batch), requests);
}

// log softmax of head · hidden, in double.
std::vector<double> LogProbabilities(const Weight& head, std::span<const float> hidden) {
  Matrix row(1, Cols(head));
  std::vector<double> logits;
  for (size_t v = 0; v < Rows(head); ++v) {
    RowsToFloat(head, v, row.view());
    double sum = 0;
    for (size_t i = 0; i < hidden.size(); ++i)
      sum += static_cast<double>(hidden[i]) * static_cast<double>(row.data()[i]);
    logits.push_back(sum);
  }
  double total = 0;
  for (const double z : logits) total += std::exp(z);
  for (double& z : logits) z -= std::log(total);
  return logits;
}

TEST(Divergence, EqualsPlainLoopsOverAllLogits) {
  const std::vector<TokenIds> sequences = Sequences();
  const std::vector<ScoreRequest> requests = RequestsOf(sequences, 5);
  for (const char* name : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-moe"}) {
    for (const bool changes_head : {false, true}) {
      const CheckpointSource base(kModels + name);
      const Changed other(kModels + name, 0.1f, changes_head);
      const ComparedScores got = Compare(base, other, requests);
      const Threads threads(2);
      const std::unique_ptr<Backend> backend = MakeBackend("ref", "f32", threads);
      const Matrix p_rows = Decoder(base, *backend).Forward(sequences),
                   q_rows = Decoder(other, *backend).Forward(sequences);
      ASSERT_EQ(got.divergence.size(), requests.size());
      size_t row = 0;
      double largest = 0;
      for (size_t r = 0; r < requests.size(); ++r) {
        ASSERT_EQ(got.divergence[r].size(), requests[r].ids.size() - requests[r].first_scored);
        for (size_t t = requests[r].first_scored; t < requests[r].ids.size(); ++t) {
          const auto p = LogProbabilities(base.Head(), p_rows.view().RowSpan(row + t - 1));
          const auto q = LogProbabilities(other.Head(), q_rows.view().RowSpan(row + t - 1));
          double kl = 0;
          for (size_t i = 0; i < p.size(); ++i) kl += std::exp(p[i]) * (p[i] - q[i]);
          const RowDivergence& d = got.divergence[r][t - requests[r].first_scored];
          ASSERT_NEAR(d.kl, kl, 2e-6 + 1e-4 * kl) << name << " request " << r << " token " << t;
          ASSERT_EQ(d.same_top,
                    std::ranges::max_element(p) - p.begin() == std::ranges::max_element(q) - q.begin());
          largest = std::max(largest, kl);
        }
        row += requests[r].ids.size();
      }
      EXPECT_GT(largest, 1e-3) << "nothing was compared";
    }
  }
}

void ExpectSame(const ComparedScores& got, const ComparedScores& want, const std::string& what) {
  ASSERT_EQ(got.divergence.size(), want.divergence.size()) << what;
  for (size_t r = 0; r < want.divergence.size(); ++r) {
    ASSERT_EQ(got.divergence[r].size(), want.divergence[r].size());
    for (size_t t = 0; t < want.divergence[r].size(); ++t) {
      ASSERT_EQ(got.divergence[r][t].kl, want.divergence[r][t].kl) << what << ", " << r << ", " << t;
      ASSERT_EQ(got.divergence[r][t].same_top, want.divergence[r][t].same_top) << what;
      ASSERT_EQ(got.scores[r][t].log_prob, want.scores[r][t].log_prob) << what;
    }
  }
}

TEST(Divergence, ThreadsBatchAndMemoryDoNotChangeABit) {
  const std::vector<TokenIds> sequences = Sequences();
  const std::vector<ScoreRequest> requests = RequestsOf(sequences);
  for (const char* compute : {"f32", "bf16"}) {
    const CheckpointSource base(kModels + "tiny-qwen3");
    const Changed other(kModels + "tiny-qwen3", 0.1f);
    const ComparedScores want = Compare(base, other, requests, {.compute = compute});
    const MemoryBudget least{.least = true};
    for (const Way& way : std::vector<Way>{{.threads = 1, .compute = compute},
                                           {.threads = 3, .compute = compute},
                                           {.batch = 1, .compute = compute},
                                           {.batch = 3, .compute = compute},
                                           {.budget = least, .compute = compute},
                                           {.threads = 3, .budget = least, .batch = 2, .compute = compute}}) {
      ExpectSame(Compare(base, other, requests, way), want,
                 fmt::format("{} threads, batch {}, least {}", way.threads, way.batch, way.budget.least));
    }
  }
}

TEST(Divergence, ScoresAreThoseOfTheModelAlone) {
  const std::vector<TokenIds> sequences = Sequences();
  const std::vector<ScoreRequest> requests = RequestsOf(sequences);
  const CheckpointSource base(kModels + "tiny-qwen3");
  const Changed other(kModels + "tiny-qwen3", 0.1f);
  const Threads threads(2);
  const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
  const Decoder decoder(other, *backend);
  const auto alone = Scorer(decoder).ScoreTokens(requests);
  const auto compared = Compare(base, other, requests).scores;
  for (size_t r = 0; r < requests.size(); ++r) {
    for (size_t t = 0; t < alone[r].size(); ++t) ASSERT_EQ(compared[r][t].log_prob, alone[r][t].log_prob);
  }
}

TEST(Divergence, IsNothingFromTheSameModelInAnotherFile) {
  const std::vector<TokenIds> sequences = Sequences();
  const CheckpointSource base(kModels + "tiny-qwen3"), again(kModels + "tiny-qwen3");
  for (const auto& window : Compare(base, again, RequestsOf(sequences)).divergence) {
    for (const RowDivergence& row : window) {
      EXPECT_EQ(row.kl, 0);
      EXPECT_TRUE(row.same_top);
    }
  }
}

// Counts the passes through a checkpoint by what every pass needs once.
class Counted : public Changed {
 public:
  using Changed::Changed;
  LayerWeights Layer(size_t index) const override {
    passes += index == 0 ? 1 : 0;
    return Changed::Layer(index);
  }
  mutable int passes = 0;
};

TEST(Reference, IsMadeOnceAndByTheBaseItselfWhereThatRunsFirst) {
  const std::vector<TokenIds> sequences = Sequences();
  const std::vector<ScoreRequest> requests = RequestsOf(sequences), others = RequestsOf(sequences, 4);
  const Counted base(kModels + "tiny-qwen3", 0);
  const Changed other(kModels + "tiny-qwen3", 0.1f);
  const Threads threads(2);
  const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
  const MemoryBudget budget;
  const Decoder of_base(base, *backend), of_other(other, *backend);
  Reference reference(base, *backend, budget);
  EXPECT_TRUE(reference.ScoreTokens(Scorer(of_base), requests).divergence.empty());
  EXPECT_EQ(base.passes, 1);
  const ComparedScores first = reference.ScoreTokens(Scorer(of_other), requests);
  ExpectSame(reference.ScoreTokens(Scorer(of_other), requests), first, "again");
  EXPECT_EQ(base.passes, 1);
  // Rows of other requests are no use.
  const ComparedScores from_fourth = reference.ScoreTokens(Scorer(of_other), others);
  EXPECT_EQ(base.passes, 2);
  EXPECT_EQ(from_fourth.divergence[2].back().kl, first.divergence[2].back().kl);
  EXPECT_EQ(from_fourth.divergence[2].size(), 27u);
}

TEST(Divergence, ANaNEndsItWithAnErrorThatSaysWhoseItIs) {
  const std::vector<TokenIds> sequences = Sequences();
  const std::vector<ScoreRequest> requests = RequestsOf(sequences);
  const CheckpointSource fine(kModels + "tiny-qwen3");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Changed broken(kModels + "tiny-qwen3", 0.1f);
    broken.norm()[3] = bad;
    const Error of_model = ErrorOf([&] { Compare(fine, broken, requests); });
    EXPECT_EQ(of_model.kind(), ErrorKind::kNumeric);
    EXPECT_THAT(of_model.what(), HasSubstr("sequence 0: the log-probability of its token 1"));
    const Error of_base = ErrorOf([&] { Compare(broken, fine, requests); });
    EXPECT_EQ(of_base.kind(), ErrorKind::kNumeric);
    EXPECT_THAT(of_base.what(), HasSubstr("of the full-precision model, for the divergence"));
  }
}

TEST(DivergenceOf, TwoWindowsByHand) {
  const std::vector<std::vector<RowDivergence>> windows = {{{0.1, true}, {0.5, false}},
                                                           {{0.2, true}, {0.4, true}}};
  const std::vector<Measurement> m = DivergenceOf(windows);
  ASSERT_EQ(m.size(), 4u);
  EXPECT_EQ(m[0].name, "kl_mean");
  EXPECT_DOUBLE_EQ(m[0].value, 0.3);
  EXPECT_NEAR(m[0].std_error.value(), 0, 1e-12);
  EXPECT_EQ(m[0].n, 4u);
  EXPECT_EQ(m[1].name, "kl_median");
  EXPECT_DOUBLE_EQ(m[1].value, 0.3);
  EXPECT_EQ(m[2].name, "kl_p99");
  EXPECT_NEAR(m[2].value, 0.4 + 0.97 * 0.1, 1e-12);  // 0.99 · 3 = 2.97
  EXPECT_EQ(m[3].name, "top1_agreement");
  EXPECT_DOUBLE_EQ(m[3].value, 0.75);
  EXPECT_DOUBLE_EQ(m[3].std_error.value(), 0.25);
  EXPECT_TRUE(m[3].higher_is_better);
  EXPECT_FALSE(DivergenceOf(std::span(windows).first(1))[0].std_error.has_value());
}

}  // namespace
}  // namespace lowbit
