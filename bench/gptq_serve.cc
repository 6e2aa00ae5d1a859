// SPDX-License-Identifier: Apache-2.0
// GPTQ of a model's first layer, for bench/quant.py, which runs the original beside it.
//
//   gptq_serve MODEL TEXTS SAMPLES LENGTH BITS GROUP THREADS
// Prints what it is, then answers each line of stdin (serve.h):
//   arrays FOLDER   writes FOLDER/TAP.f32, the rows that each step's readers see in full precision, [tokens,
//                   width], and FOLDER/LINEAR.f32, weights [out, width]; says which there are
//   class           Gram matrices of those rows, factors, rounding: what the original's class does
//   codes FOLDER    writes what `class` chose, FOLDER/LINEAR.codes, one byte a weight
//   layer f32|bf16  the layer as `lowbit quantize` takes it: Gram, factor, rounding and forward, step by step
//   forward f32|bf16  the layer in full precision, as `lowbit eval` takes it: preparing its weights and one pass
#include "bench/gptq_rounded.h"
#include "bench/serve.h"
#include "lowbit/model/layer_forward.h"
#include "lowbit/model/rope.h"
#include "lowbit/quant/calibration_stream.h"

namespace lowbit {
namespace {

constexpr std::string_view kCommands = "arrays FOLDER, class, codes FOLDER, layer TYPE or forward TYPE";

struct Setting {
  std::string model;
  CalibrationSet set;
  WeightSpec spec = {};
  int threads = 1;
};

class Server {
 public:
  explicit Server(Setting setting)
      : setting_(std::move(setting)),
        threads_(setting_.threads),
        f32_(MakeBackend("cpu", "f32", threads_)),
        bf16_(MakeBackend("cpu", "bf16", threads_)),
        source_(OpenModel(setting_.model)),
        weights_(source_->Layer(0)) {
    size_t rows = 0;
    for (const TokenIds& ids : setting_.set.sequences) {
      sequences_.push_back({rows, rows + ids.size(), 0});
      rows += ids.size();
    }
    rope_ = MakeRopeTable(source_->config(), setting_.set.spec.length);
    embedded_ = Matrix(rows, source_->config().hidden_size);
    const Weight embedding = source_->Embedding();
    size_t row = 0;
    for (const TokenIds& ids : setting_.set.sequences) {
      for (const int32_t id : ids)
        RowsToFloat(embedding, static_cast<size_t>(id), embedded_.view().Rows(row++, 1));
    }
    FillTaps();
  }

  Json Facts() const {
    Json steps = Json::array();
    for (const LayerStep& step : Steps()) {
      Json readers = Json::array();
      for (const std::string& reader : step.readers)
        readers.push_back({{"name", reader}, {"out", Rows(WeightOf(reader))}});
      steps.push_back({{"tap", step.tap}, {"width", step.width}, {"readers", readers}});
    }
    return {{"isa", f32_->Isa()}, {"isa_bf16", bf16_->Isa()}, {"tokens", embedded_.rows()}, {"steps", steps}};
  }

  Json Answer(const std::vector<std::string>& words) {
    const std::string& what = words[0];
    if (what == "arrays" && words.size() == 2) return WriteArrays(words[1]);
    if (what == "class" && words.size() == 1) return RunClass();
    if (what == "codes" && words.size() == 2) return WriteCodes(words[1]);
    if (what == "layer" && words.size() == 2) return RunLayer(BackendOf(words[1]));
    if (what == "forward" && words.size() == 2) return RunForward(BackendOf(words[1]));
    ThrowUnknown(words, kCommands);
  }

 private:
  std::vector<LayerStep> Steps() const { return StepsOf(source_->layout().layers[0]); }
  const Weight& WeightOf(const std::string& name) const { return weights_.linears.find(name)->second; }
  const Backend& BackendOf(const std::string& type) const {
    if (type != "f32" && type != "bf16")
      throw Error(ErrorKind::kUsage, fmt::format("type '{}', expected f32 or bf16", type));
    return type == "f32" ? *f32_ : *bf16_;
  }

  void FillTaps() {
    Activations x(embedded_.rows(), embedded_.cols());
    std::copy_n(embedded_.data(), x.rows() * x.cols(), x.Load(0, x.rows(), true).data);
    x.Store();
    StagedLayer layer({source_->config(), source_->layout().layers[0], *f32_, rope_, sequences_}, weights_,
                      x);
    for (const LayerStep& step : Steps()) {
      Matrix& tap = taps_[step.tap] = Matrix(x.rows(), step.width);
      size_t row = 0;
      layer.Inputs(step, [&](MatView<const float> rows) {
        for (size_t t = 0; t < rows.rows; ++t) std::ranges::copy(rows.RowSpan(t), tap.view().Row(row++));
      });
      layer.Advance(step, AsTheyAre(weights_));
    }
  }

  Json WriteArrays(const std::string& folder) const {
    for (const auto& [tap, rows] : taps_)
      WriteRaw(folder + "/" + tap + ".f32", rows.data(), rows.rows() * rows.cols() * sizeof(float));
    for (const auto& [name, weight] : weights_.linears) {
      const Matrix matrix = ToMatrix(weight);
      WriteRaw(folder + "/" + name + ".f32", matrix.data(), matrix.rows() * matrix.cols() * sizeof(float));
    }
    return Json::object();
  }

  // Factor and rounding of a step's readers.
  struct Solved {
    Cost factor, rounding;
  };
  Solved Solve(const LayerStep& step, InputStatistics& statistics) {
    Solved solved;
    GptqFactor factor;
    solved.factor =
        CostOf([&] { factor = FactorGram(statistics.Gram(), options_, Place(step.tap), threads_); });
    if (factor.state != GramState::kFactored)
      throw Error(ErrorKind::kNumeric, Place(step.tap),
                  fmt::format("Gram matrix {}, expected one that can be factored", Name(factor.state)));
    solved.rounding = CostOf([&] {
      for (const std::string& reader : step.readers) {
        rounded_[reader] =
            RoundAll(ToMatrix(WeightOf(reader)).view(), factor, setting_.spec, options_, threads_);
      }
    });
    return solved;
  }

  Json RunClass() {
    Cost gram, factor, rounding;
    const Cost all = CostOf([&] {
      for (const LayerStep& step : Steps()) {
        InputStatistics statistics(step.width);
        const MatView<const float> rows = taps_.find(step.tap)->second.view();
        gram += CostOf([&] {
          for (const SequenceRows& s : sequences_) statistics.Add(*f32_, rows.Rows(s.begin, s.end - s.begin));
        });
        const Solved solved = Solve(step, statistics);
        factor += solved.factor;
        rounding += solved.rounding;
      }
    });
    Json answer = all.ToJson(), losses;
    for (const auto& [name, rounded] : rounded_) losses[name] = rounded.loss;
    answer.update({{"gram", gram.ToJson()},
                   {"factor", factor.ToJson()},
                   {"rounding", rounding.ToJson()},
                   {"losses", losses}});
    return answer;
  }

  Json WriteCodes(const std::string& folder) const {
    for (const auto& [name, rounded] : rounded_) {
      const std::vector<uint8_t> codes = Codes(rounded.packed);
      WriteRaw(folder + "/" + name + ".codes", codes.data(), codes.size());
    }
    return Json::object();
  }

  Json RunLayer(const Backend& backend) {
    CalibrationStream stream(*source_, setting_.set, backend, {});
    Cost factor, rounding;
    const Cost all = CostOf([&] {
      stream.Run(0, weights_, GramPart::kFull, [&](const LayerStep& step, InputStatistics& statistics) {
        const Solved solved = Solve(step, statistics);
        factor += solved.factor;
        rounding += solved.rounding;
        return [this](const std::string& name) -> Weight {
          return std::shared_ptr<const PackedTensor>(std::shared_ptr<void>(),
                                                     &rounded_.find(name)->second.packed);  // lent
        };
      });
    });
    Json answer = all.ToJson();
    answer.update({{"factor", factor.ToJson()}, {"rounding", rounding.ToJson()}});
    return answer;
  }

  Json RunForward(const Backend& backend) {
    Matrix x(embedded_.rows(), embedded_.cols());
    std::copy_n(embedded_.data(), x.rows() * x.cols(), x.data());
    return CostOf([&] {
             LayerScratch scratch;
             PreparedLayer(*source_, 0, backend).Run(rope_, sequences_, kRowsPerGroup, x.view(), scratch);
           })
        .ToJson();
  }

  Setting setting_;
  GptqOptions options_ = {.fresh_range = false};  // as the original
  Threads threads_;
  std::unique_ptr<Backend> f32_, bf16_;
  std::unique_ptr<LayerSource> source_;
  LayerWeights weights_;
  std::vector<SequenceRows> sequences_;
  RopeTable rope_;
  Matrix embedded_;
  std::map<std::string, Matrix, std::less<>> taps_;
  std::map<std::string, Rounded, std::less<>> rounded_;
};

int Run(const std::vector<std::string>& args) {
  if (args.size() != 7)
    throw Error(ErrorKind::kUsage, "expected MODEL TEXTS SAMPLES LENGTH BITS GROUP THREADS");
  Setting setting{.model = args[0], .set = LoadTokens(args[0], args[1], args[2], args[3])};
  setting.spec = {
      .bits = static_cast<int>(Count(args[4])), .group_size = Count(args[5]), .scale_type = DType::kF32};
  setting.threads = static_cast<int>(Count(args[6]));
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
