// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/quantize_probe.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "lowbit/base/hash.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/model/forward_plan.h"
#include "lowbit/model/staged_layer.h"
#include "lowbit/quant/awq_clip.h"
#include "lowbit/quant/awq_loss.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/model_rounder.h"
#include "lowbit/quant/quantize_memory.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

constexpr size_t kMostWidth = 1536;  // of what is tried
constexpr size_t kRowsPerThread = 64;

// Work that grows as a w^p + b w^(p + 1), through two measured points.
class Growth {
 public:
  Growth() = default;
  Growth(int power, double w1, double t1, double w2, double t2) : power_(power) {
    if (w1 >= w2) {  // one point: the higher power alone
      b_ = t2 / std::pow(w2, power + 1);
      return;
    }
    const double u1 = t1 / std::pow(w1, power), u2 = t2 / std::pow(w2, power);
    b_ = std::max(0.0, (u2 - u1) / (w2 - w1));
    a_ = std::max(0.0, u2 - b_ * w2);
  }
  double At(double w) const { return (a_ + b_ * w) * std::pow(w, power_); }

 private:
  int power_ = 1;
  double a_ = 0, b_ = 0;
};

struct Point {
  double factor = 0, round = 0;  // GPTQ: of a Gram matrix, and of a row
  double search = 0, clip = 0;   // AWQ: of a row, by the Gram matrix's loss
};

}  // namespace

class QuantizeProbe::Work {
 public:
  Work(const QuantizeJob& job, std::span<const Recipe> recipes)
      : job_(job), recipes_(recipes), threads_(job.backend.threads()) {}

  double Seconds(const QuantizeLane& lane) {
    double seconds = 0;
    GramPart part = lane.saves_statistics ? GramPart::kFull : GramPart::kNone;
    for (const size_t i : lane.recipes) {
      seconds += Own(recipes_[i]);
      part = std::max(part, GramOf(recipes_[i]));
    }
    if (lane.float_stream) seconds += Forward() + Gram(part);
    return seconds;
  }

  double HashSeconds() {
    if (!job_.weights_hash.empty()) return 0;
    const TensorView tensor = job_.model.checkpoint().Get(
        ModelLayout::LayerPrefix(0) + job_.model.layout().layers[0].linears[0].name + ".weight");
    const double once = LeastSecondsOf([&] {
      threads_.For(static_cast<size_t>(threads_.count()), [&](size_t) {
        Sha256 one;
        one.Update(tensor.bytes);
      });
    });
    return once / static_cast<double>(tensor.bytes.size()) *
           static_cast<double>(job_.model.checkpoint().TensorBytes()) / threads_.count();
  }

 private:
  // What a recipe does beside the others.
  double Own(const Recipe& recipe) {
    ModelRounder rounder(job_.model, recipe, threads_);
    if (!HasOwnStream(recipe)) {
      const double rounding = rounder.ProbeSeconds();
      return rounding + (recipe.awq ? Rescaling(recipe) : 0);
    }
    double seconds = Forward() + Gram(GramPart::kFull) + (recipe.awq ? Rescaling(recipe) : 0);
    const auto [w1, p1] = Smaller(recipe);
    const auto [w2, p2] = Larger(recipe);
    const Growth factor(2, w1, p1.factor, w2, p2.factor), round(1, w1, p1.round, w2, p2.round);
    ForSteps([&](const LayerLayout& layout, const LayerStep& step) {
      seconds += factor.At(static_cast<double>(step.width));
      for (const std::string& reader : step.readers) {
        seconds += static_cast<double>(layout.Linear(reader).out) * round.At(static_cast<double>(step.width));
      }
    });
    return seconds;
  }

  // AWQ's searches and bounds.
  double Rescaling(const Recipe& recipe) {
    const auto [w1, p1] = Smaller(recipe);
    const auto [w2, p2] = Larger(recipe);
    const Growth search(1, w1, p1.search, w2, p2.search), clip(1, w1, p1.clip, w2, p2.clip);
    const ModelConfig& c = job_.model.config();
    double seconds = 0;
    ForSteps([&](const LayerLayout& layout, const LayerStep& step) {
      const bool is_searched =
          step.kind != LayerStep::Kind::kAttnOut || c.num_attention_heads == c.num_key_value_heads;
      for (const std::string& reader : step.readers) {
        const auto rows = static_cast<double>(layout.Linear(reader).out), w = static_cast<double>(step.width);
        if (is_searched) seconds += rows * search.At(w);
        if (recipe.method == "awq" && AwqClips(reader)) seconds += rows * clip.At(w);
      }
    });
    // Attention and MLP once for each ratio, and once as they were.
    if (recipe.awq->loss == AwqLoss::kBlock) {
      const auto all = static_cast<double>(job_.calibration->sequences.size());
      const double share = recipe.awq->samples > 0 ? static_cast<double>(recipe.awq->samples) / all : 1;
      seconds += share * (kAwqRatios + 1) * Forward();
    }
    if (recipe.awq->loss == AwqLoss::kHessianRows) seconds += Forward();
    return seconds;
  }

  template <class F>
  void ForSteps(const F& visit) const {
    for (const LayerLayout& layout : job_.model.layout().layers) {
      for (const LayerStep& step : StepsOf(layout)) visit(layout, step);
    }
  }

  // One pass of the calibration tokens through all layers.
  double Forward() {
    if (forward_ > 0) return forward_;
    const ForwardJob forward{.sequences = job_.calibration->spec.samples,
                             .rows = job_.calibration->Tokens(),
                             .longest = job_.calibration->spec.length,
                             .scored = 0};
    forward_ = ProbeSeconds(job_.model, job_.backend, forward);
    return forward_;
  }

  // Statistics of all steps of all layers. Of a mixture every token is seen by its experts only.
  double Gram(GramPart part) {
    if (part == GramPart::kNone) return 0;
    if (gram_[part] > 0) return gram_[part];
    const size_t width = std::min<size_t>(job_.model.config().hidden_size, kMostWidth), rows = 2 * kGramRows;
    const Matrix x = RandomMatrix(rows, width);
    InputStatistics statistics(width, part);
    statistics.Add(job_.backend, x.view());  // compiles kernels
    const double once = LeastSecondsOf([&] { statistics.Add(job_.backend, x.view()); });
    double units = 0;
    ForSteps([&](const LayerLayout& layout, const LayerStep& step) {
      const auto w = static_cast<double>(step.width);
      const bool is_expert = layout.experts && step.tap.find('.') != std::string::npos;
      const double share =
          is_expert ? static_cast<double>(layout.experts->active) / static_cast<double>(layout.experts->count)
                    : 1;
      units += share * (part == GramPart::kFull ? w * w : w);
    });
    const auto w = static_cast<double>(width);
    const double unit = once / static_cast<double>(rows) / (part == GramPart::kFull ? w * w : w);
    gram_[part] = unit * units * static_cast<double>(job_.calibration->Tokens());
    return gram_[part];
  }

  using Measured = std::pair<double, Point>;  // width
  Measured Smaller(const Recipe& recipe) { return Try(recipe, std::max<size_t>(128, Widest() / 3)); }
  Measured Larger(const Recipe& recipe) { return Try(recipe, Widest()); }
  size_t Widest() const {
    size_t most = 0;
    ForSteps([&](const LayerLayout&, const LayerStep& step) { most = std::max(most, step.width); });
    return std::min(most, kMostWidth);
  }

  // A few rows of this width.
  Measured Try(const Recipe& recipe, size_t width) {
    const auto [entry, is_new] = tried_.try_emplace({recipe.Text(), width});
    Point& point = entry->second;
    if (!is_new) return {static_cast<double>(width), point};
    const Matrix x = RandomMatrix(2 * kGramRows, width);
    InputStatistics statistics(width);
    statistics.Add(job_.backend, x.view());
    const size_t rows = kRowsPerThread * static_cast<size_t>(threads_.count());
    const Matrix weights = RandomMatrix(rows, width);
    if (HasOwnStream(recipe)) TryRounding(recipe, statistics, weights.view(), point);
    if (recipe.awq) TrySearch(recipe, statistics, weights.view(), point);
    return {static_cast<double>(width), point};
  }

  void TryRounding(const Recipe& recipe, InputStatistics& statistics, MatView<const float> weights,
                   Point& point) {
    static const Threads serial(1);
    const std::string name = "probe";
    const Method& method = *FindMethod(recipe.method);
    Notes notes;
    std::unique_ptr<RoundContext> context;
    const uint64_t tokens = std::exchange(statistics.tokens, 0);  // methods say nothing of what a probe loses
    point.factor = SecondsOf([&] {
      context = method.Prepare(recipe, recipe.weights, {statistics, {}}, Place(name), threads_, notes);
    });
    statistics.tokens = tokens;
    const bool is_whole = method.Info().whole_matrix;
    const auto rows_of = [&](size_t first, size_t count) {
      return RoundJob{weights.Rows(first, count),   first,        name, name, recipe, recipe.weights,
                      is_whole ? threads_ : serial, context.get()};
    };
    PackedTensor packed = method.Make(weights.rows, weights.cols, rows_of(0, weights.rows));
    const double once = LeastSecondsOf([&] {
      if (is_whole) return method.Round(rows_of(0, weights.rows), packed);
      threads_.For(static_cast<size_t>(threads_.count()),
                   [&](size_t t) { method.Round(rows_of(t * kRowsPerThread, kRowsPerThread), packed); });
    });
    point.round = once / static_cast<double>(weights.rows);
  }

  void TrySearch(const Recipe& recipe, const InputStatistics& statistics, MatView<const float> weights,
                 Point& point) {
    const Place place("probe");
    const std::vector<double> mean = statistics.mean_abs();
    const std::vector<float> mean_abs(mean.begin(), mean.end());
    std::vector<float> importance;
    for (size_t j = 0; j < weights.cols; ++j) {
      importance.push_back(static_cast<float>(statistics.SumOfSquares(j)));
    }
    const std::vector<MatView<const float>> readers = {weights};
    const auto rows = static_cast<double>(weights.rows);
    point.search = LeastSecondsOf([&] {
                     const GramLoss loss(job_.backend, statistics.Gram(), statistics.tokens, readers);
                     SearchScales({readers, mean_abs, importance}, recipe.weights, loss, place, threads_);
                   }) /
                   rows;
    point.clip = LeastSecondsOf([&] {
                   SearchClip(weights, {statistics.Gram(), statistics.tokens, {}}, recipe.weights,
                              job_.backend, place);
                 }) /
                 rows;
  }

  const QuantizeJob& job_;
  std::span<const Recipe> recipes_;
  const Threads& threads_;
  double forward_ = 0;
  std::map<GramPart, double> gram_;
  std::map<std::pair<std::string, size_t>, Point> tried_;  // by recipe and width
};

QuantizeProbe::QuantizeProbe(const QuantizeJob& job, std::span<const Recipe> recipes)
    : work_(std::make_unique<Work>(job, recipes)) {}

QuantizeProbe::~QuantizeProbe() = default;

double QuantizeProbe::Seconds(const QuantizeLane& lane) {
  return work_->Seconds(lane);
}

double QuantizeProbe::HashSeconds() {
  return work_->HashSeconds();
}

}  // namespace lowbit
