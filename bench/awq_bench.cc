// SPDX-License-Identifier: Apache-2.0
// AWQ's searches on one stage, for oracle/awq_reference.py, which compares them with torch; and what the range
// searches cost.
//
//   awq_bench stage STAGE.safetensors BITS GROUP THREADS
//     STAGE: readers "weight.0", "weight.1", … [out, in]; "mean_abs" [in]; "gram" [in, 8 in], the bytes of the
//     upper triangle in f64; metadata "tokens"; or "scales" [in], which are then not searched. Prints one line of JSON: losses of all ratios, the ratio and the
//     scales chosen, bounds of every reader as steps of 1/20 below the largest weight, and seconds.
//   awq_bench losses STAGE.safetensors BITS GROUP THREADS
//     The mean square change of the readers' outputs under rounding to nearest, with each range search.
//   awq_bench ranges THREADS
//     CPU seconds per million weights of each range search, groups of 128.
//   awq_bench block MODEL TEXTS SAMPLES LENGTH LAYER RECIPE THREADS
//     AWQ on one layer of a checkpoint as the driver does it, without rounding at the end: the ratios chosen and CPU
//     seconds of the whole process, RECIPE's loss and clipping included.
#include <fmt/format.h>

#include <cmath>
#include <cstring>
#include <ctime>
#include <map>

#include "lowbit/base/json.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/calib/calibration_set.h"
#include "lowbit/checkpoint/safetensors.h"
#include "lowbit/quant/awq.h"
#include "lowbit/quant/awq_clip.h"
#include "lowbit/quant/awq_fold.h"
#include "lowbit/quant/awq_layer.h"
#include "lowbit/quant/awq_loss.h"
#include "lowbit/quant/rounding.h"
#include "lowbit/quant/uniform.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

Matrix LoadMatrix(const TensorView& tensor) {
  Matrix m(tensor.Rows(), tensor.Cols());
  CopyToFloat(tensor, 0, {m.data(), m.rows() * m.cols()});
  return m;
}

struct Stage {
  std::vector<Matrix> readers;
  std::vector<float> mean_abs;
  Buffer<double> gram;
  uint64_t tokens = 0;
  std::vector<float> scales;  // empty: to be searched

  explicit Stage(const std::string& path) {
    const SafetensorsFile file(path);
    while (file.Find(fmt::format("weight.{}", readers.size())) != nullptr) {
      readers.push_back(LoadMatrix(file.Get(fmt::format("weight.{}", readers.size()))));
    }
    mean_abs = ToFloatVector(file.Get("mean_abs"));
    if (file.Find("scales") != nullptr) scales = ToFloatVector(file.Get("scales"));
    const TensorView bytes = file.Get("gram");
    gram = Buffer<double>(mean_abs.size() * mean_abs.size());
    std::memcpy(gram.data(), bytes.bytes.data(), gram.size() * sizeof(double));
    tokens = std::stoull(file.header().metadata.at("tokens"));
  }
  MatView<const double> Gram() const { return {gram.data(), mean_abs.size(), mean_abs.size()}; }
};

std::vector<int> Steps(const Matrix& weights, const Matrix& bounds, size_t group) {
  std::vector<int> steps;
  for (size_t r = 0; r < bounds.rows(); ++r) {
    for (size_t k = 0; k < bounds.cols(); ++k) {
      float absmax = 0;
      for (size_t j = k * group; j < std::min(weights.cols(), (k + 1) * group); ++j) {
        absmax = std::max(absmax, std::abs(weights.view().Row(r)[j]));
      }
      const float bound = bounds.view().Row(r)[k];
      steps.push_back(absmax == 0 ? 0 : static_cast<int>(std::lround((1 - bound / absmax) * 20)));
    }
  }
  return steps;
}

void RunStage(const std::string& path, int bits, size_t group, int thread_count) {
  Stage stage(path);
  const Threads threads(thread_count);
  const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
  const WeightSpec spec{.bits = bits, .group_size = group, .scale_type = DType::kF32, .grid = Grid::kAwq};
  std::vector<MatView<const float>> views;
  for (const Matrix& m : stage.readers) views.push_back(m.view());

  Stopwatch watch;
  AwqChoice choice;
  choice.scales = stage.scales;
  if (stage.scales.empty()) {
    const GramLoss loss(*backend, stage.Gram(), stage.tokens, views);
    choice = SearchScales({views, stage.mean_abs}, spec, loss, Place(path), threads);
  }
  const double search_seconds = watch.Seconds();

  Json clips = Json::array();
  double clip_seconds = 0;
  for (Matrix& reader : stage.readers) {
    ScaleColumns(reader.view(), choice.scales);
    watch = Stopwatch();
    const Matrix bounds =
        SearchClip(reader.view(), {stage.Gram(), stage.tokens, choice.scales}, spec, *backend, Place(path));
    clip_seconds += watch.Seconds();
    clips.push_back(Steps(reader, bounds, spec.GroupSizeFor(reader.cols())));
  }
  const Json result = {{"ratio_step", choice.step},        {"losses", choice.losses},
                       {"scales", choice.scales},          {"clip_steps", clips},
                       {"search_seconds", search_seconds}, {"clip_seconds", clip_seconds}};
  fmt::print("{}\n", result.dump());
}

void RunLosses(const std::string& path, int bits, size_t group, int thread_count) {
  const Stage stage(path);
  const Threads threads(thread_count);
  const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
  std::vector<MatView<const float>> views, rounded_views;
  for (const Matrix& m : stage.readers) views.push_back(m.view());
  const GramLoss loss(*backend, stage.Gram(), stage.tokens, views);
  std::vector<float> importance;
  for (size_t j = 0; j < stage.mean_abs.size(); ++j) {
    importance.push_back(static_cast<float>(stage.Gram().Row(j)[j]));
  }
  for (const Grid grid : {Grid::kGptq, Grid::kAwq}) {
    for (const bool symmetric : {false, true}) {
      for (const RangeSearch range : {RangeSearch::kMinMax, RangeSearch::kMse, RangeSearch::kHdiag}) {
        if (!HasRangeSearch(grid, range)) continue;
        const WeightSpec spec{
            .bits = bits, .group_size = group, .symmetric = symmetric, .grid = grid, .range = range};
        std::vector<Matrix> rounded;
        rounded_views.clear();
        for (const MatView<const float>& view : views) {
          rounded.emplace_back(view.rows, view.cols);
          RoundToValues(view, spec, 0, Place(path), threads, rounded.back().view(), importance);
          rounded_views.push_back(rounded.back().view());
        }
        fmt::print("{} grid={} range={}: {:.6g}\n", spec.Text(), Name(grid), Name(range),
                   loss.Loss(rounded_views));
      }
    }
  }
}

void RunRanges(int thread_count) {
  constexpr size_t kRows = 1024, kCols = 1024;
  const Threads threads(thread_count);
  const Matrix weights = RandomMatrix(kRows, kCols), inputs = RandomMatrix(1, kCols, 2);
  std::vector<float> importance(inputs.data(), inputs.data() + kCols);
  for (float& h : importance) h *= h;
  for (const int bits : {2, 3, 4, 8}) {
    for (const bool symmetric : {false, true}) {
      for (const RangeSearch range : {RangeSearch::kMinMax, RangeSearch::kMse, RangeSearch::kHdiag}) {
        const WeightSpec spec{.bits = bits, .group_size = 128, .symmetric = symmetric, .range = range};
        PackedTensor packed = MakePacked(kRows, kCols, spec);
        double best = 1e9;
        for (int i = 0; i < 3; ++i) {
          const std::clock_t begin = std::clock();
          RoundRows(weights.view(), spec, 0, Place("bench"), threads, packed, importance);
          best = std::min(best, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
        }
        fmt::print("{} range={}: {:.4f} CPU s per million weights\n", spec.Text(), Name(range),
                   best * 1e6 / (kRows * kCols));
      }
    }
  }
}

double CpuSeconds() {
  return static_cast<double>(std::clock()) / CLOCKS_PER_SEC;
}

void RunBlock(const std::vector<std::string>& args) {
  const CheckpointSource model(args[1]);
  const Threads threads(std::stoi(args[7]));
  const std::unique_ptr<Backend> backend = MakeBackend("cpu", "f32", threads);
  const CalibrationSet set =
      LoadCalibrationSet({.file = args[2], .samples = std::stoul(args[3]), .length = std::stoul(args[4])},
                         Tokenizer::Load(args[1]));
  const Recipe recipe = ParseRecipe(args[6]);
  const size_t layer = std::stoul(args[5]);
  CalibrationStream stream(model, set, *backend, {});
  for (size_t l = 0; l < layer; ++l) stream.Record(l, model.Layer(l), {});

  const LayerWeights weights = model.Layer(layer);
  double begin = CpuSeconds();
  const bool is_block = recipe.awq->loss == AwqLoss::kBlock;
  const size_t samples = recipe.awq->samples > 0 ? recipe.awq->samples : set.sequences.size();
  const LayerRecord record = stream.Record(layer, weights,
                                           {.gram = GramPart::kFull,
                                            .samples = is_block ? samples : 0,
                                            .row_weights = recipe.awq->loss == AwqLoss::kHessianRows});
  const double recorded = CpuSeconds() - begin;
  const StagedLayer::Job staged = stream.JobOf(layer, samples);
  const Place place("bench");
  AwqLayerJob job{staged.config,  staged.layout,
                  staged.backend, [&](const std::string&) { return recipe.weights; },
                  record.inputs,  place,
                  false,          record.row_weights.empty() ? nullptr : &record.row_weights};
  for (int run = 0; run < 2; ++run) {
    begin = CpuSeconds();
    if (is_block) {
      job.loss_of = [&](const LayerStep& step) { return stream.LossOf(staged, weights, step, record); };
    }
    const RescaledLayer rescaled = RescaleWithAwq(job, weights);
    const double searched = CpuSeconds() - begin;
    fmt::print("recorded {:.2f} s, searched {:.2f} s of CPU;", recorded, searched);
    for (const auto& [tap, choice] : rescaled.choices) {
      fmt::print(" {} {:.2f} {:.9g} of {:.9g}", tap, choice.Ratio(), choice.losses[choice.step],
                 choice.losses[0]);
    }
    fmt::print("\n");
  }
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  const std::vector<std::string> args(argv + 1, argv + argc);
  try {
    if (args.size() == 5 && args[0] == "stage") {
      lowbit::RunStage(args[1], std::stoi(args[2]), std::stoul(args[3]), std::stoi(args[4]));
    } else if (args.size() == 5 && args[0] == "losses") {
      lowbit::RunLosses(args[1], std::stoi(args[2]), std::stoul(args[3]), std::stoi(args[4]));
    } else if (args.size() == 2 && args[0] == "ranges") {
      lowbit::RunRanges(std::stoi(args[1]));
    } else if (args.size() == 8 && args[0] == "block") {
      lowbit::RunBlock(args);
    } else {
      fmt::print(stderr,
                 "awq_bench stage|losses STAGE.safetensors BITS GROUP THREADS\nawq_bench ranges THREADS\n"
                 "awq_bench block MODEL TEXTS SAMPLES LENGTH LAYER RECIPE THREADS\n");
      return 2;
    }
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}\n", e.what());
    return 1;
  }
}
