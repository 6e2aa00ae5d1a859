// SPDX-License-Identifier: Apache-2.0
// PlanQuantize of layer_stream.h.
#include <algorithm>
#include <numeric>

#include "lowbit/base/human.h"
#include "lowbit/quant/calibration_stream.h"
#include "lowbit/quant/layer_stream.h"
#include "lowbit/quant/model_rounder.h"
#include "lowbit/quant/output_error.h"

namespace lowbit {
namespace {

void RequireCalibration(const QuantizeJob& job, std::span<const Recipe> recipes) {
  for (const Recipe& recipe : recipes) {
    if (!recipe.NeedsCalibration()) continue;
    if (job.calibration != nullptr) {
      const size_t asked = recipe.awq ? recipe.awq->samples : 0, there = job.calibration->sequences.size();
      if (asked <= there) continue;
      throw Error(ErrorKind::kUsage,
                  fmt::format("recipe '{}' looks at {} sequences, the calibration set has {}", recipe.Text(),
                              asked, there));
    }
    throw Error(
        ErrorKind::kUsage,
        fmt::format("recipe '{}' learns from calibration tokens, expected --calib FILE", recipe.Text()));
  }
}

// Weights of a layer as the forward pass holds them, the widest step's at a time.
uint64_t PreparedBytes(const QuantizeJob& job) {
  uint64_t most = 0;
  for (const LayerLayout& layout : job.model.layout().layers) {
    for (const LayerStep& step : StepsOf(layout)) {
      uint64_t bytes = 0;
      for (const std::string& reader : step.readers) {
        const LinearSpec& linear = layout.Linear(reader);
        bytes += job.backend.PreparedBytes(linear.out, linear.in);
      }
      most = std::max(most, bytes);
    }
  }
  return most;
}

// Weights of the largest layer.
uint64_t LayerFloats(const ModelLayout& layout) {
  uint64_t most = 0;
  for (const LayerLayout& layer : layout.layers) {
    uint64_t weights = 0;
    for (const LinearSpec& linear : layer.linears) weights += uint64_t{linear.out} * linear.in;
    most = std::max(most, weights);
  }
  return most;
}

// The Gram matrix in f64, the factor in f32.
uint64_t StatisticsBytes(size_t width) {
  return uint64_t{width} * width * (sizeof(double) + sizeof(float));
}

// Beyond the rows themselves: statistics, their factor, prepared weights, a group of rows inside a layer.
uint64_t LayerBytes(const QuantizeJob& job, const QuantizeLane& lane) {
  const ModelConfig& c = job.model.config();
  uint64_t widest = 0, all_steps = 0;
  for (const LayerLayout& layout : job.model.layout().layers) {
    uint64_t steps = 0;
    for (const LayerStep& step : StepsOf(layout)) {
      widest = std::max(widest, StatisticsBytes(step.width));
      steps += step.width * step.width * sizeof(double);
    }
    all_steps = std::max(all_steps, steps);
  }
  const uint64_t group = std::max(kRowsPerGroup, job.calibration->spec.length);
  const uint64_t working = group * (c.hidden_size + 2 * c.QuerySize() + 4 * c.KeyValueSize()) * sizeof(float);
  return widest + (lane.float_stream ? all_steps : 0) + PreparedBytes(job) + working;
}

bool LearnsFromFloat(const Recipe& recipe) {
  return recipe.awq || FindMethod(recipe.method)->Learns(recipe) == Stream::kFloat;
}

bool HasOwnStream(const Recipe& recipe) {
  return FindMethod(recipe.method)->Learns(recipe) == Stream::kOwn;
}

// Cuts recipes into lanes.
class Planner {
 public:
  Planner(const QuantizeJob& job, std::span<const Recipe> recipes, uint64_t disk_bytes)
      : job_(job), recipes_(recipes), disk_bytes_(disk_bytes), budget_(job.budget.Bytes()) {
    TrimMemory();
    program_ = ResidentMemoryBytes();
  }

  std::vector<QuantizeLane> Lanes() const {
    std::vector<size_t> order(recipes_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::stable_partition(order, [&](size_t i) { return LearnsFromFloat(recipes_[i]); });
    std::vector<QuantizeLane> lanes;
    for (const size_t i : order) {
      if (!lanes.empty() && !job_.budget.least) {
        const QuantizeLane longer = With(lanes.back(), i);
        if (longer.peak_bytes <= budget_ && longer.bytes_written <= disk_bytes_) {
          lanes.back() = longer;
          continue;
        }
      }
      lanes.push_back(With({}, i));
      if (!job_.budget.least && lanes.back().peak_bytes > budget_) Refuse(lanes.back());
    }
    return lanes;
  }

 private:
  QuantizeLane With(QuantizeLane lane, size_t recipe) const {
    lane.recipes.insert(std::ranges::upper_bound(lane.recipes, recipe), recipe);
    lane.bytes_written = 0;
    lane.own_streams = 0;
    lane.float_stream = false;
    for (const size_t i : lane.recipes) {
      for (const PlannedFile& file : PlanFiles(job_.model, recipes_[i])) lane.bytes_written += file.Bytes();
      lane.own_streams += HasOwnStream(recipes_[i]) ? 1 : 0;
      lane.float_stream |= LearnsFromFloat(recipes_[i]);
    }
    lane.scratch_file = false;
    lane.peak_bytes = PeakOf(lane);
    if (!job_.budget.least && lane.peak_bytes <= budget_) return lane;
    if (lane.own_streams == 0 && !lane.float_stream) return lane;
    lane.scratch_file = true;
    lane.peak_bytes = PeakOf(lane);
    return lane;
  }

  uint64_t PeakOf(const QuantizeLane& lane) const {
    uint64_t fixed = program_, rescaled = 0;
    if (job_.calibration != nullptr)
      fixed += HeldOutStream::Bytes(job_.model, *job_.calibration, job_.backend);
    size_t copies = 0;  // of the rows: what each module reads and what it puts out
    for (const size_t i : lane.recipes) {
      const Recipe& recipe = recipes_[i];
      fixed += ModelRounder::PeakBytes(job_.model, recipe);
      if (recipe.awq)
        rescaled = 2 * LayerFloats(job_.model.layout()) * sizeof(float);  // and what a search tries
      if (recipe.awq && recipe.awq->loss == AwqLoss::kBlock) copies = 4;
      if (recipe.awq && recipe.awq->loss == AwqLoss::kHessianRows) copies = std::max<size_t>(copies, 2);
    }
    const size_t streams = lane.own_streams + (lane.float_stream ? 1 : 0);
    if (streams == 0) return fixed;
    const ModelConfig& c = job_.model.config();
    size_t rows = job_.calibration->Tokens();
    if (lane.scratch_file) rows = std::min(rows, std::max(kRowsPerGroup, job_.calibration->spec.length));
    return fixed + rescaled + (streams + copies) * CalibrationStream::RowBytes(c, rows) +
           CalibrationStream::BetweenBytes(c, rows) + LayerBytes(job_, lane);
  }

  [[noreturn]] void Refuse(const QuantizeLane& lane) const {
    throw Error(
        ErrorKind::kResource,
        fmt::format("{} of memory {}, expected at least {} to quantize {} with {}", HumanBytes(budget_),
                    job_.budget.bytes > 0 ? "allowed by --ram" : "to be had", HumanBytes(lane.peak_bytes),
                    job_.model.checkpoint().folder(), recipes_[lane.recipes[0]].Text()));
  }

  const QuantizeJob& job_;
  std::span<const Recipe> recipes_;
  uint64_t disk_bytes_, budget_, program_ = 0;
};

double SecondsOfLane(const QuantizeJob& job, std::span<const Recipe> recipes, const QuantizeLane& lane) {
  double seconds = 0;
  for (const size_t i : lane.recipes) {
    seconds += ModelRounder(job.model, recipes[i], job.backend.threads()).ProbeSeconds();
  }
  const size_t streams = lane.own_streams + (lane.float_stream ? 1 : 0);
  if (streams == 0) return seconds;
  const ForwardJob forward{.sequences = job.calibration->spec.samples,
                           .rows = job.calibration->Tokens(),
                           .longest = job.calibration->spec.length,
                           .scored = 0};
  return seconds + static_cast<double>(streams) * ProbeSeconds(job.model, job.backend, forward);
}

}  // namespace

uint64_t QuantizePlan::PeakBytes() const {
  uint64_t most = 0;
  for (const QuantizeLane& lane : lanes) most = std::max(most, lane.peak_bytes);
  return most;
}

uint64_t QuantizePlan::BytesWritten() const {
  uint64_t bytes = 0;
  for (const QuantizeLane& lane : lanes) bytes += lane.bytes_written;
  return bytes;
}

double QuantizePlan::Seconds() const {
  double seconds = 0;
  for (const QuantizeLane& lane : lanes) seconds += lane.seconds;
  return seconds;
}

std::string QuantizePlan::Text() const {
  std::string text =
      fmt::format("quantize: about {}, reads {} and writes {}; memory {}", HumanSeconds(Seconds()),
                  HumanBytes(bytes_read), HumanBytes(BytesWritten()), HumanBytes(PeakBytes()));
  if (lanes.size() > 1) {
    text += fmt::format("; {} passes over the layers of", lanes.size());
    for (const QuantizeLane& lane : lanes)
      text += fmt::format("{} {}", &lane == lanes.data() ? "" : ",", lane.recipes.size());
    text += " recipes";
  }
  size_t floats = 0, own = 0;
  bool in_file = false;
  for (const QuantizeLane& lane : lanes) {
    floats += lane.float_stream ? 1 : 0;
    own += lane.own_streams;
    in_file |= lane.scratch_file;
  }
  const auto passes = [](size_t count) {
    return count == 1 ? std::string("one pass") : fmt::format("{} passes", count);
  };
  if (floats > 0) {
    text += fmt::format("; {} of the calibration tokens through the full-precision model for all recipes",
                        passes(floats));
  }
  if (own > 0) text += fmt::format("; {} through recipes' own layers", passes(own));
  if (in_file) text += "; calibration rows in a scratch file";
  return text;
}

QuantizePlan PlanQuantize(const QuantizeJob& job, std::span<const Recipe> recipes, Probe probe,
                          uint64_t disk_bytes) {
  RequireCalibration(job, recipes);
  QuantizePlan plan;
  plan.lanes = Planner(job, recipes, disk_bytes).Lanes();
  plan.bytes_read = plan.lanes.size() * job.model.checkpoint().TensorBytes();
  if (probe == Probe::kNo) return plan;
  for (QuantizeLane& lane : plan.lanes) lane.seconds = SecondsOfLane(job, recipes, lane);
  return plan;
}

}  // namespace lowbit
