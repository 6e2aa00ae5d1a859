// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>

#include "lowbit/quant/importance.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

// How large each column's inputs are, for range=hdiag.
struct Importance : RoundContext {
  std::vector<float> of_columns;
};

// Round to nearest: every group by itself, looking at nothing but its weights.
class Nearest final : public Method {
 public:
  explicit Nearest(const MethodInfo& info) : info_(info) {}
  MethodInfo Info() const override { return info_; }

  std::unique_ptr<RoundContext> Prepare(const Recipe&, const WeightSpec& spec, const StepInputs& inputs,
                                        const Place& place, const Threads&, Notes& notes) const override {
    const std::vector<float>& largest = inputs.statistics.max_abs;
    if (const auto dead = std::ranges::count(largest, 0.0f); dead > 0)
      notes.push_back(place.Text() + fmt::format(": {} of {} inputs always 0", dead, largest.size()));
    if (spec.range != RangeSearch::kHdiag) return nullptr;
    inputs.statistics.RequireFinite(place.Text());
    auto importance = std::make_unique<Importance>();
    importance->of_columns = ImportanceOf(inputs.statistics, inputs.scales);
    return importance;
  }

  void Round(const RoundJob& job, PackedTensor& packed) const override {
    const Place place = Place(job.source).Tensor(job.name);
    const auto* importance = static_cast<const Importance*>(job.context);
    RoundRows(job.weights, job.spec, job.first_row, place, job.threads, packed,
              importance == nullptr ? std::span<const float>() : importance->of_columns);
  }

 private:
  MethodInfo info_;
};

}  // namespace

const Method& Rtn() {
  static const Nearest method(
      {.name = "rtn",
       .description = "round to nearest, group by group; needs no data (1 bit: mean and two levels)",
       .source = "the baseline of every quantization paper; docs/methods.md"});
  return method;
}

// The driver rescales the layer (awq_layer.h); what is left is rounded to nearest.
const Method& Awq() {
  static const Nearest method(
      {.name = "awq",
       .description = "scale up what reads large inputs, clip, round to nearest; needs data",
       .source = "arXiv 2306.00978; docs/methods.md",
       .min_bits = 2,
       .max_bits = 8});
  return method;
}

// The same (smooth_layer.h).
const Method& SmoothQuant() {
  static const Nearest method(
      {.name = "smoothquant",
       .description = "move the size of inputs over into weights, round both to integers; needs data",
       .source = "arXiv 2211.10438; docs/methods.md",
       .min_bits = 2,
       .max_bits = 8});
  return method;
}

}  // namespace lowbit
