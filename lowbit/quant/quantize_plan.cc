// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/quantize_plan.h"

#include <algorithm>

#include "lowbit/base/human.h"
#include "lowbit/quant/calibration_stream.h"
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

// Beyond the rows themselves: statistics, their factor, prepared weights, a group of rows inside a layer.
uint64_t LayerBytes(const QuantizeJob& job, const QuantizePlan& plan) {
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
  return widest + (plan.float_stream ? all_steps : 0) + PreparedBytes(job) + working;
}

}  // namespace

// The Gram matrix in f64, the factor in f32.
uint64_t StatisticsBytes(size_t width) {
  return uint64_t{width} * width * (sizeof(double) + sizeof(float));
}

std::string QuantizePlan::Text() const {
  std::string text =
      fmt::format("quantize: about {}, reads {} and writes {}; memory {}", HumanSeconds(seconds),
                  HumanBytes(bytes_read), HumanBytes(bytes_written), HumanBytes(peak_bytes));
  if (float_stream) text += "; one full-precision pass over the calibration tokens for all recipes";
  if (own_streams > 0)
    text += fmt::format("; {} pass{} of their own", own_streams, own_streams == 1 ? "" : "es");
  if (scratch_file) text += "; calibration rows in a scratch file";
  return text;
}

QuantizePlan PlanQuantize(const QuantizeJob& job, std::span<const Recipe> recipes, Probe probe) {
  RequireCalibration(job, recipes);
  QuantizePlan plan;
  plan.bytes_read = job.model.checkpoint().TensorBytes();
  uint64_t rounding = 0, rescaled = 0;
  size_t copies = 0;  // of the rows: what each module reads and what it puts out
  for (const Recipe& recipe : recipes) {
    for (const PlannedFile& file : PlanFiles(job.model, recipe)) plan.bytes_written += file.Bytes();
    rounding += ModelRounder::PeakBytes(job.model, recipe);
    const Stream stream = FindMethod(recipe.method)->Learns(recipe);
    plan.own_streams += stream == Stream::kOwn ? 1 : 0;
    plan.float_stream |= stream == Stream::kFloat || recipe.awq;
    if (recipe.awq)
      rescaled = 2 * LayerFloats(job.model.layout()) * sizeof(float);  // and what a search tries
    if (recipe.awq && recipe.awq->loss == AwqLoss::kBlock) copies = 4;
    if (recipe.awq && recipe.awq->loss == AwqLoss::kHessianRows) copies = std::max<size_t>(copies, 2);
  }
  const uint64_t held_out =
      job.calibration == nullptr ? 0 : HeldOutStream::Bytes(job.model, *job.calibration, job.backend);
  const uint64_t fixed = ResidentMemoryBytes() + rounding + held_out;
  plan.peak_bytes = fixed;
  const size_t streams = plan.own_streams + (plan.float_stream ? 1 : 0);
  const uint64_t budget = job.budget.Bytes();
  if (streams > 0) {
    const ModelConfig& c = job.model.config();
    const auto peak = [&](size_t rows) {
      return fixed + rescaled + (streams + copies) * CalibrationStream::RowBytes(c, rows) +
             CalibrationStream::BetweenBytes(c, rows) + LayerBytes(job, plan);
    };
    const size_t rows = job.calibration->Tokens(),
                 group = std::max(kRowsPerGroup, job.calibration->spec.length);
    plan.scratch_file = job.budget.least || peak(rows) > budget;
    plan.peak_bytes = peak(plan.scratch_file ? std::min(rows, group) : rows);
  }
  if (!job.budget.least && plan.peak_bytes > budget) {
    throw Error(ErrorKind::kResource,
                fmt::format("{} of memory {}, expected at least {} to quantize {}", HumanBytes(budget),
                            job.budget.bytes > 0 ? "allowed by --ram" : "to be had",
                            HumanBytes(plan.peak_bytes), job.model.checkpoint().folder()));
  }
  if (probe == Probe::kNo) return plan;
  for (const Recipe& recipe : recipes) {
    plan.seconds += ModelRounder(job.model, recipe, job.backend.threads()).ProbeSeconds();
  }
  if (streams == 0) return plan;
  const size_t length = job.calibration->spec.length;
  const ForwardJob forward{.sequences = job.calibration->spec.samples,
                           .rows = job.calibration->Tokens(),
                           .longest = length,
                           .scored = 0};
  plan.seconds += static_cast<double>(streams) * ProbeSeconds(job.model, job.backend, forward);
  return plan;
}

}  // namespace lowbit
