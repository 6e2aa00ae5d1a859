// SPDX-License-Identifier: Apache-2.0
// PlanQuantize of layer_stream.h.
#include <algorithm>
#include <numeric>

#include "lowbit/base/human.h"
#include "lowbit/quant/layer_stream.h"
#include "lowbit/quant/model_rounder.h"
#include "lowbit/quant/quantize_memory.h"
#include "lowbit/quant/quantize_probe.h"

namespace lowbit {
namespace {

void RequireCalibration(const QuantizeJob& job, std::span<const Recipe> recipes) {
  if (job.calibration == nullptr && !job.statistics.empty()) {
    throw Error(ErrorKind::kUsage, "statistics are of calibration tokens, expected --calib FILE");
  }
  for (const Recipe& recipe : recipes) {
    if (!recipe.NeedsCalibration()) continue;
    if (job.calibration == nullptr) {
      throw Error(
          ErrorKind::kUsage,
          fmt::format("recipe '{}' learns from calibration tokens, expected --calib FILE", recipe.Text()));
    }
    const size_t asked = recipe.awq ? recipe.awq->samples : 0, there = job.calibration->sequences.size();
    if (asked <= there) continue;
    throw Error(ErrorKind::kUsage,
                fmt::format("recipe '{}' looks at {} sequences, the calibration set has {}", recipe.Text(),
                            asked, there));
  }
}

// Cuts recipes into lanes.
class Planner {
 public:
  Planner(const QuantizeJob& job, std::span<const Recipe> recipes, uint64_t disk_bytes)
      : job_(job),
        recipes_(recipes),
        disk_bytes_(disk_bytes),
        budget_(job.budget.Bytes()),
        program_(job.budget.ProgramBytes()) {}

  std::vector<QuantizeLane> Lanes() const {
    std::vector<size_t> order(recipes_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_partition(order.begin(), order.end(), [&](size_t i) { return LearnsFromFloat(recipes_[i]); });
    std::vector<QuantizeLane> lanes;
    QuantizeLane first;
    first.saves_statistics = !job_.statistics.empty();
    if (order.empty() && first.saves_statistics) lanes.push_back(Measured(first));
    for (const size_t i : order) {
      if (!lanes.empty() && !job_.budget.least) {
        const QuantizeLane longer = With(lanes.back(), i);
        if (longer.peak_bytes <= budget_ && longer.bytes_written <= disk_bytes_) {
          lanes.back() = longer;
          continue;
        }
      }
      lanes.push_back(With(lanes.empty() ? first : QuantizeLane(), i));
      if (!job_.budget.least && lanes.back().peak_bytes > budget_) Refuse(lanes.back());
    }
    return lanes;
  }

 private:
  QuantizeLane With(QuantizeLane lane, size_t recipe) const {
    lane.recipes.insert(std::ranges::upper_bound(lane.recipes, recipe), recipe);
    return Measured(std::move(lane));
  }

  QuantizeLane Measured(QuantizeLane lane) const {
    lane.bytes_written = 0;
    lane.own_streams = 0;
    lane.float_stream = lane.saves_statistics;
    for (const size_t i : lane.recipes) {
      lane.bytes_written += BytesOf(job_.model, recipes_[i]);
      lane.own_streams += HasOwnStream(recipes_[i]) ? 1 : 0;
      lane.float_stream |= LearnsFromFloat(recipes_[i]);
    }
    lane.scratch_file = false;
    lane.peak_bytes = PeakOf(lane, false);
    if (!job_.budget.least && lane.peak_bytes <= budget_) return lane;
    if (lane.own_streams == 0 && !lane.float_stream) return lane;
    lane.scratch_file = true;
    lane.peak_bytes = PeakOf(lane, true);
    return lane;
  }

  uint64_t PeakOf(const QuantizeLane& lane, bool in_file) const {
    std::vector<const Recipe*> recipes;
    for (const size_t i : lane.recipes) recipes.push_back(&recipes_[i]);
    return program_ + SweepBytes(job_, recipes, in_file, lane.saves_statistics);
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
  uint64_t disk_bytes_, budget_, program_;
};

}  // namespace

uint64_t BytesOf(const CheckpointSource& model, const Recipe& recipe) {
  uint64_t bytes = 0;
  for (const PlannedFile& file : PlanFiles(model, recipe)) bytes += file.Bytes();
  return bytes;
}

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
  double seconds = hash_seconds;
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
  QuantizeProbe tries(job, recipes);
  plan.hash_seconds = tries.HashSeconds();
  for (QuantizeLane& lane : plan.lanes) lane.seconds = tries.Seconds(lane);
  return plan;
}

}  // namespace lowbit
