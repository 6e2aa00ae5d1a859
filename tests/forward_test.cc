// SPDX-License-Identifier: Apache-2.0
// The forward pass against transformers' logits, hidden states and scores (docs/models.md, "Pass criteria").
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <map>
#include <sstream>

#include "lowbit/base/files.h"
#include "lowbit/base/json.h"
#include "lowbit/eval/perplexity.h"
#include "lowbit/eval/scorer.h"
#include "lowbit/kernels/route.h"
#include "lowbit/model/decoder.h"
#include "lowbit/model/rope.h"

namespace lowbit {
namespace {

namespace fs = std::filesystem;

// A tiny model of testdata/models; `config_file` becomes its config.json in a folder of its own.
class TinyModel {
 public:
  TinyModel(const std::string& name, const std::string& config_file)
      : original_(std::string(LOWBIT_TESTDATA) + "/models/" + name),
        folder_(testing::TempDir() + "/" + name + "-" + fs::path(config_file).stem().string() + "-" +
                std::to_string(getpid())) {
    fs::create_directories(folder_);
    for (const auto& entry : fs::directory_iterator(original_)) {
      if (entry.path().filename().string().starts_with("model")) {
        fs::copy_file(entry.path(), fs::path(folder_) / entry.path().filename(),
                      fs::copy_options::overwrite_existing);
      }
    }
    fs::copy_file(original_ + "/" + config_file, folder_ + "/config.json",
                  fs::copy_options::overwrite_existing);
  }
  ~TinyModel() { fs::remove_all(folder_); }
  const std::string& folder() const { return folder_; }
  SafetensorsFile Vectors() const { return SafetensorsFile(original_ + "/vectors.safetensors"); }
  Json Meta() const { return ReadJsonFile(original_ + "/meta.json"); }

 private:
  std::string original_, folder_;
};

TokenIds Ids(const SafetensorsFile& vectors, const std::string& name) {
  const TensorView tensor = vectors.Get(name);
  TokenIds ids(tensor.Count());
  for (size_t i = 0; i < ids.size(); ++i) {
    int64_t id;
    std::memcpy(&id, tensor.bytes.data() + i * sizeof(id), sizeof(id));
    ids[i] = static_cast<int32_t>(id);
  }
  return ids;
}

double LargestDifference(MatView<const float> got, const TensorView& want_tensor) {
  const std::vector<float> want = ToFloatVector(want_tensor);
  EXPECT_EQ(got.rows * got.cols, want.size());
  double largest = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(got.data[i]) - static_cast<double>(want[i])));
  }
  return largest;
}

// The reference's choices: [T, active] ids and weights, most probable first.
void ExpectSameExperts(MatView<const float> logits, const SafetensorsFile& vectors,
                       const std::string& router) {
  const std::vector<float> weights = ToFloatVector(vectors.Get(router + ".weights"));
  const TokenIds ids = Ids(vectors, router + ".indices");
  const size_t active = ids.size() / logits.rows;
  const std::vector<ExpertRows> routes = RouteRows(logits, active, true);
  for (size_t t = 0; t < logits.rows; ++t) {
    for (size_t i = 0; i < active; ++i) {
      const ExpertRows& expert = routes[static_cast<size_t>(ids[t * active + i])];
      const auto row = std::ranges::find(expert.rows, t);
      ASSERT_NE(row, expert.rows.end()) << router << " row " << t << " choice " << i;
      EXPECT_NEAR(expert.weights[static_cast<size_t>(row - expert.rows.begin())], weights[t * active + i],
                  1e-5);
    }
  }
}

struct Setting {
  std::string model, config, backend;
  bool streamed = false;
};
std::vector<Setting> AllSettings() {
  std::vector<Setting> all;
  for (const char* model : {"tiny-qwen3", "tiny-llama3", "tiny-qwen3-bf16-sharded", "tiny-qwen3-moe"}) {
    for (const char* config : {"config.json", "config_v5.json"}) {
      for (const char* backend : {"ref", "cpu"}) {
        for (const bool streamed : {false, true}) all.push_back({model, config, backend, streamed});
      }
    }
  }
  return all;
}

class Forward : public testing::TestWithParam<Setting> {
 protected:
  Forward()
      : model_(GetParam().model, GetParam().config),
        source_(OpenModel(model_.folder())),
        backend_(MakeBackend(GetParam().backend, "f32", threads_)),
        decoder_(*source_, *backend_, Budget(GetParam().streamed)) {}

  // One layer at a time, the activations of one sequence in memory and the rest in a file; or all at once.
  static MemoryBudget Budget(bool streamed) { return {.least = streamed, .scratch = testing::TempDir()}; }
  Threads threads_{2};
  TinyModel model_;
  std::unique_ptr<LayerSource> source_;
  std::unique_ptr<Backend> backend_;
  Decoder decoder_;
};
INSTANTIATE_TEST_SUITE_P(TinyModels, Forward, testing::ValuesIn(AllSettings()), [](const auto& test) {
  std::string name = test.param.model + "_" + test.param.config + "_" + test.param.backend +
                     (test.param.streamed ? "_streamed" : "_resident");
  std::replace_if(
      name.begin(), name.end(), [](char c) { return std::isalnum(c) == 0; }, '_');
  return name;
});

TEST_P(Forward, LogitsAndHiddenStatesEqualTheReference) {
  const SafetensorsFile vectors = model_.Vectors();
  for (const std::string which : {"a", "b", "c"}) {
    const TokenIds ids = Ids(vectors, which + ".input_ids");
    const Matrix x =
        decoder_.Forward(std::span(&ids, 1), [&](std::string_view name, size_t, MatView<const float> rows) {
          const std::string tensor = which + "." + std::string(name);
          const bool is_router = name.starts_with("router");
          EXPECT_LE(LargestDifference(rows, vectors.Get(tensor)), is_router ? 2e-4 : 1e-4) << tensor;
          if (is_router) ExpectSameExperts(rows, vectors, tensor);
        });
    Matrix logits(ids.size(), source_->config().vocab_size);
    backend_->Gemm(x.view(), *backend_->Prepare(source_->Head()), {}, logits.view());
    EXPECT_LE(LargestDifference(logits.view(), vectors.Get(which + ".logits")), 2e-4) << which;
  }
}

TEST_P(Forward, NextTokenLogProbsEqualTheReference) {
  const SafetensorsFile vectors = model_.Vectors();
  const TokenIds b = Ids(vectors, "b.input_ids"), c = Ids(vectors, "c.input_ids");
  const auto scores = decoder_.Score(std::vector<ScoreRequest>{{b, 1}, {c, 1}});
  for (const auto& [which, rows] : {std::pair{"b", scores[0]}, std::pair{"c", scores[1]}}) {
    const std::vector<float> want = ToFloatVector(vectors.Get(std::string(which) + ".next_token_logprob"));
    ASSERT_EQ(rows.size(), want.size());
    for (size_t t = 0; t < want.size(); ++t)
      EXPECT_NEAR(rows[t].log_prob, want[t], 2e-4) << which << " row " << t;
  }
}

TEST_P(Forward, RopeFrequenciesEqualTheReference) {
  const std::vector<float> want = ToFloatVector(model_.Vectors().Get("rope.inv_freq"));
  const std::vector<float> got = RopeFrequencies(source_->config());
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i) EXPECT_NEAR(got[i] / want[i], 1.0f, 1e-6f) << i;
}

TEST_P(Forward, PerplexityOfThePapersProcedureEqualsTheReference) {
  const Json ppl = model_.Meta()["ppl"];
  const TokenIds ids = Ids(model_.Vectors(), "ppl.input_ids");
  const PerplexityResult result = PerplexityOf(Scorer(decoder_), ids, ppl["seqlen"], 0);
  EXPECT_EQ(result.window_nll.size(), ppl["nsamples"].get<size_t>());
  EXPECT_EQ(ids.size() - result.window_nll.size() * ppl["seqlen"].get<size_t>(),
            ppl["tokens_dropped"].get<size_t>());
  const double want =
      std::log(ppl["ppl_gptq_procedure"].get<double>());  // losses are near 14: exp() would magnify
  EXPECT_NEAR(result.mean_nll / want, 1.0, 1e-5);
}

TEST_P(Forward, ScoringVectorsAgreeWhateverTheBatch) {
  std::vector<ContinuationRequest> requests;
  std::vector<Json> expected;
  std::istringstream lines(ReadFile(std::string(LOWBIT_TESTDATA) + "/eval/scoring.jsonl"));
  for (std::string line; std::getline(lines, line);) {
    const Json json = ParseJson(line, Place("scoring.jsonl"));
    if (json["model"] != GetParam().model) continue;
    requests.push_back({json["context_ids"].get<TokenIds>(),
                        json["continuations"].get<std::vector<TokenIds>>(), json["max_length"]});
    expected.push_back(json["results"]);
  }
  // The vectors have 14 requests for each model but one.
  ASSERT_EQ(requests.size(), GetParam().model == "tiny-qwen3-bf16-sharded" ? 0u : 14u);
  const auto all = Scorer(decoder_).LogLikelihoods(requests),
             one_by_one = Scorer(decoder_, 1).LogLikelihoods(requests);
  for (size_t i = 0; i < all.size(); ++i) {
    for (size_t c = 0; c < all[i].size(); ++c) {
      EXPECT_NEAR(all[i][c].log_likelihood, expected[i][c][0].get<double>(), 1e-4) << i << "/" << c;
      EXPECT_EQ(all[i][c].is_greedy, expected[i][c][1].get<bool>()) << i << "/" << c;
      EXPECT_EQ(all[i][c].log_likelihood, one_by_one[i][c].log_likelihood)
          << "batch of one, " << i << "/" << c;
    }
  }
}

TEST_P(Forward, BitsDoNotDependOnThreadsWindowsPerBatchOrMemory) {
  const TokenIds ids = Ids(model_.Vectors(), "ppl.input_ids");
  const PerplexityResult want = PerplexityOf(Scorer(decoder_), ids, 32, 0);
  for (const int count : {1, 3}) {
    const Threads other(count);
    const std::unique_ptr<Backend> backend = MakeBackend(GetParam().backend, "f32", other);
    const Decoder decoder(*source_, *backend, Budget(!GetParam().streamed));
    for (const size_t per_batch : {1, 4}) {
      EXPECT_EQ(PerplexityOf(Scorer(decoder, per_batch), ids, 32, 0).window_nll, want.window_nll)
          << count << " threads, " << per_batch << " windows per batch";
    }
  }
}

TEST_P(Forward, AnIdOutsideTheVocabularyIsRefused) {
  const TokenIds ids = {1, static_cast<int32_t>(source_->config().vocab_size), 2};
  try {
    decoder_.Forward(std::span(&ids, 1));
    FAIL() << "accepted";
  } catch (const Error& e) {
    EXPECT_EQ(e.kind(), ErrorKind::kContent);
    EXPECT_NE(std::string(e.what()).find("vocabulary has 512 entries"), std::string::npos) << e.what();
  }
}

TEST(BF16Compute, StaysNearTheF32Result) {
  const TinyModel model("tiny-qwen3-bf16-sharded", "config.json");
  const std::unique_ptr<LayerSource> source = OpenModel(model.folder());
  const Threads threads(2);
  const TokenIds ids = Ids(model.Vectors(), "ppl.input_ids");
  std::map<std::string, double> nll;
  for (const char* backend : {"ref", "cpu"}) {
    for (const char* compute : {"f32", "bf16"}) {
      const std::unique_ptr<Backend> made = MakeBackend(backend, compute, threads);
      const Decoder decoder(*source, *made);
      nll[std::string(backend) + "-" + compute] = PerplexityOf(Scorer(decoder), ids, 32, 0).mean_nll;
    }
  }
  // Rounding both factors to 8 bits of mantissa changes the mean loss of some 200 tokens by less than 1 %,
  // and does change it; both backends round the same values.
  EXPECT_NEAR(nll["cpu-bf16"] / nll["cpu-f32"], 1.0, 1e-2);
  EXPECT_NE(nll["cpu-bf16"], nll["cpu-f32"]);
  EXPECT_NEAR(nll["cpu-bf16"] / nll["ref-bf16"], 1.0, 2e-3);
}

}  // namespace
}  // namespace lowbit
