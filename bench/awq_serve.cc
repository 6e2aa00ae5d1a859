// SPDX-License-Identifier: Apache-2.0
// AWQ's searches in one layer of a dense model, for bench/quant.py, which runs llm-awq's beside it.
//
//   awq_serve MODEL TEXTS SAMPLES LENGTH LAYER BITS GROUP THREADS
// Prints what it is, then answers each line of stdin (serve.h):
//   rows FILE            writes what the layer reads in full precision, [tokens, hidden] f32
//   gram                 Gram matrices and mean |x| of all steps, rows at hand
//   search TAP LOSS      scales of a step's readers; LOSS block, the original's, or hessian, from the Gram matrix
//   clip EVERY TAP…      bounds of the readers of these steps that llm-awq clips, scaled as the last search with
//                        loss block chose; from every EVERY-th token
#include <cmath>

#include "bench/serve.h"
#include "lowbit/quant/awq_clip.h"
#include "lowbit/quant/awq_fold.h"
#include "lowbit/quant/awq_loss.h"
#include "lowbit/quant/calibration_stream.h"

namespace lowbit {
namespace {

constexpr std::string_view kCommands = "rows FILE, gram, search TAP block|hessian or clip EVERY TAP…";

struct Setting {
  std::string model;
  CalibrationSet set;
  size_t layer = 0;
  WeightSpec spec = {};
  int threads = 1;
};

// Bounds as steps of 1/20 below the largest weight of a group, row after row.
std::vector<int> StepsOfBounds(MatView<const float> weights, MatView<const float> bounds, size_t group) {
  std::vector<int> steps;
  for (size_t r = 0; r < bounds.rows; ++r) {
    for (size_t k = 0; k < bounds.cols; ++k) {
      float absmax = 0;
      for (size_t j = k * group; j < std::min(weights.cols, (k + 1) * group); ++j)
        absmax = std::max(absmax, std::abs(weights.Row(r)[j]));
      steps.push_back(absmax == 0 ? 0 : static_cast<int>(std::lround((1 - bounds.Row(r)[k] / absmax) * 20)));
    }
  }
  return steps;
}

class Server {
 public:
  explicit Server(Setting setting)
      : setting_(std::move(setting)),
        threads_(setting_.threads),
        backend_(MakeBackend("cpu", "f32", threads_)),
        source_(OpenModel(setting_.model)),
        stream_(*source_, setting_.set, *backend_, {}) {
    for (size_t layer = 0; layer < setting_.layer; ++layer) stream_.Record(layer, source_->Layer(layer), {});
    weights_ = source_->Layer(setting_.layer);
    before_ = stream_.CopyOfRows();
    const RecordNeeds all{.gram = GramPart::kFull, .samples = stream_.sequences()};
    statistics_pass_ = CostOf([&] { record_ = stream_.Record(setting_.layer, weights_, all); });
    for (const auto& [name, weight] : weights_.linears) readers_[name] = ToMatrix(weight);
  }

  Json Facts() const {
    Json steps = Json::array();
    for (const LayerStep& step : StepsOf(Layout())) {
      Json readers = Json::array();
      for (const std::string& reader : step.readers)
        readers.push_back({{"name", reader}, {"clips", AwqClips(reader)}});
      steps.push_back({{"tap", step.tap}, {"width", step.width}, {"readers", readers}});
    }
    return {{"isa", backend_->Isa()},
            {"tokens", setting_.set.Tokens()},
            {"statistics_pass", statistics_pass_.ToJson()},
            {"steps", steps}};
  }

  Json Answer(const std::vector<std::string>& words) {
    const std::string& what = words[0];
    if (what == "rows" && words.size() == 2) return WriteRows(words[1]);
    if (what == "gram" && words.size() == 1) return RunGram();
    if (what == "search" && words.size() == 3) return Search(StepOf(words[1]), words[2]);
    if (what == "clip" && words.size() >= 3) return Clip(Count(words[1]), std::span(words).subspan(2));
    ThrowUnknown(words, kCommands);
  }

 private:
  const LayerLayout& Layout() const { return source_->layout().layers[setting_.layer]; }
  LayerStep StepOf(const std::string& tap) const {
    for (const LayerStep& step : StepsOf(Layout())) {
      if (step.tap == tap) return step;
    }
    throw Error(ErrorKind::kUsage, fmt::format("tap '{}', expected one of the layer's", tap));
  }

  Json WriteRows(const std::string& file) {
    Activations& x = *before_;
    WriteRaw(file, x.Load(0, x.rows()).data, x.rows() * x.cols() * sizeof(float));
    return Json::object();
  }

  // Shows `see` what the readers of each step see.
  void ForInputs(const std::function<void(const LayerStep& step, MatView<const float> rows)>& see) {
    Activations x(before_->rows(), before_->cols());
    std::copy_n(before_->Load(0, x.rows()).data, x.rows() * x.cols(), x.Load(0, x.rows(), true).data);
    x.Store();
    StagedLayer layer(stream_.JobOf(setting_.layer, stream_.sequences()), weights_, x);
    for (const LayerStep& step : StepsOf(Layout())) {
      layer.Inputs(step, [&](MatView<const float> rows) { see(step, rows); });
      layer.Advance(step, AsTheyAre(weights_));
    }
  }

  Json RunGram() {
    Cost cost;
    LayerStatistics statistics;
    ForInputs([&](const LayerStep& step, MatView<const float> rows) {
      cost += CostOf([&] {
        auto of_step = statistics.find(step.tap);
        if (of_step == statistics.end())
          of_step = statistics.emplace(step.tap, InputStatistics(step.width)).first;
        of_step->second.Add(*backend_, rows);
      });
    });
    return cost.ToJson();
  }

  Json Search(const LayerStep& step, const std::string& which) {
    if (which != "block" && which != "hessian")
      throw Error(ErrorKind::kUsage, fmt::format("loss '{}', expected block or hessian", which));
    const InputStatistics& inputs = record_.inputs.find(step.tap)->second;
    std::vector<MatView<const float>> readers;
    for (const std::string& reader : step.readers) readers.push_back(readers_.find(reader)->second.view());
    AwqChoice choice;
    const Cost cost = CostOf([&] {
      const std::vector<double> mean = inputs.mean_abs();
      const std::vector<float> mean_abs(mean.begin(), mean.end());
      const StagedLayer::Job job = stream_.JobOf(setting_.layer, stream_.sequences());
      std::unique_ptr<ScaleLoss> loss;
      if (which == "block") loss = stream_.LossOf(job, weights_, step, record_);
      if (!loss) loss = std::make_unique<GramLoss>(*backend_, inputs.Gram(), inputs.tokens, readers);
      choice = SearchScales({.readers = readers, .mean_abs = mean_abs}, setting_.spec, *loss, Place(step.tap),
                            threads_);
    });
    Json answer = cost.ToJson();
    answer.update({{"step", choice.step}, {"losses", choice.losses}, {"scales", choice.scales}});
    if (which == "block") scales_[step.tap] = std::move(choice.scales);
    return answer;
  }

  // From every `every`-th token; 1 is what `lowbit quantize` does.
  Json Clip(size_t every, std::span<const std::string> taps) {
    if (every == 0) throw Error(ErrorKind::kUsage, "every 0th token, expected 1 or more");
    LayerStatistics few;
    if (every > 1) few = StatisticsOfEvery(every);
    Cost cost;
    Json bounds = Json::object();
    for (const std::string& tap : taps) {
      const LayerStep step = StepOf(tap);
      const InputStatistics& inputs = (every > 1 ? few : record_.inputs).find(tap)->second;
      const auto scales = scales_.find(tap);
      const std::span<const float> s =
          scales == scales_.end() ? std::span<const float>() : std::span<const float>(scales->second);
      for (const std::string& reader : step.readers) {
        if (!AwqClips(reader)) continue;
        Matrix scaled = ToMatrix(weights_.linears.find(reader)->second), found;
        if (!s.empty()) ScaleColumns(scaled.view(), s);
        cost += CostOf([&] {
          found = SearchClip(scaled.view(), {inputs.Gram(), inputs.tokens, s}, setting_.spec, *backend_,
                             Place(reader));
        });
        bounds[reader] =
            StepsOfBounds(scaled.view(), found.view(), setting_.spec.GroupSizeFor(scaled.cols()));
      }
    }
    Json answer = cost.ToJson();
    answer["bounds"] = std::move(bounds);
    return answer;
  }

  LayerStatistics StatisticsOfEvery(size_t every) {
    LayerStatistics statistics;
    std::map<std::string, size_t> seen;
    ForInputs([&](const LayerStep& step, MatView<const float> rows) {
      statistics.emplace(step.tap, InputStatistics(step.width));
      size_t& first = seen[step.tap];  // of `rows`, among all tokens
      size_t count = 0;
      Matrix some(rows.rows / every + 1, rows.cols);
      for (size_t t = 0; t < rows.rows; ++t) {
        if ((first + t) % every == 0) std::ranges::copy(rows.RowSpan(t), some.view().Row(count++));
      }
      first += rows.rows;
      statistics.find(step.tap)->second.Add(*backend_, some.view().Rows(0, count));
    });
    return statistics;
  }

  Setting setting_;
  Threads threads_;
  std::unique_ptr<Backend> backend_;
  std::unique_ptr<LayerSource> source_;
  CalibrationStream stream_;
  LayerWeights weights_;
  LayerRecord record_;
  std::unique_ptr<Activations> before_;  // the layer's input
  Cost statistics_pass_;
  std::map<std::string, Matrix, std::less<>> readers_;
  std::map<std::string, std::vector<float>, std::less<>> scales_;  // by tap
};

int Run(const std::vector<std::string>& args) {
  if (args.size() != 8)
    throw Error(ErrorKind::kUsage, "expected MODEL TEXTS SAMPLES LENGTH LAYER BITS GROUP THREADS");
  Setting setting{.model = args[0], .set = LoadTokens(args[0], args[1], args[2], args[3])};
  setting.layer = Count(args[4]);
  setting.spec = {.bits = static_cast<int>(Count(args[5])),
                  .group_size = Count(args[6]),
                  .scale_type = DType::kF32,
                  .grid = Grid::kAwq};
  setting.threads = static_cast<int>(Count(args[7]));
  Server server(std::move(setting));
  std::cout << server.Facts() << std::endl;
  AnswerEach([&](const std::vector<std::string>& words) { return server.Answer(words); });
  return 0;
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  return lowbit::RunServer(argc, argv, lowbit::Run);
}
