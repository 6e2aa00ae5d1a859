// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "lowbit/quant/method.h"

namespace lowbit {
namespace {

constexpr std::array kGridNames = {
    std::pair{Grid::kGptq, "gptq"}, std::pair{Grid::kAwq, "awq"},   std::pair{Grid::kAbsmax, "absmax"},
    std::pair{Grid::kRot, "rot"},   std::pair{Grid::kFull, "full"},
};

constexpr std::array<std::string_view, 3> kRangeNames = {"minmax", "mse", "hdiag"};

constexpr std::array<std::string_view, 3> kAwqLossNames = {"block", "hessian", "hessian_rows"};

}  // namespace

std::string_view Name(RangeSearch range) {
  return kRangeNames[static_cast<size_t>(range)];
}

std::string_view Name(AwqLoss loss) {
  return kAwqLossNames[static_cast<size_t>(loss)];
}

std::string_view Name(Grid grid) {
  return kGridNames[static_cast<size_t>(grid)].second;
}

std::string WeightSpec::Text() const {
  const std::string groups = group_size == 0 ? "channel" : fmt::format("g{}", group_size);
  return fmt::format("w{}-{}{}", bits, groups, symmetric ? "-sym" : "");
}

size_t WeightSpec::GroupSizeFor(size_t cols) const {
  return group_size == 0 ? cols : std::min(group_size, cols);
}

std::string WeightRule::Name() const {
  if (!layers) return "tensor." + tensor;
  std::string name = fmt::format("layers.{}", layers->first);
  if (layers->last > layers->first) name += fmt::format("-{}", layers->last);
  return tensor.empty() ? name : name + "." + tensor;
}

std::string WeightRule::Text() const {
  return fmt::format("{}={}", Name(), weights ? weights->Text() : "keep");
}

bool WeightRule::Covers(size_t layer, std::string_view linear) const {
  if (layers && (layer < layers->first || layer > layers->last)) return false;
  if (tensor.empty()) return true;
  for (size_t at = linear.find(tensor); at != std::string_view::npos; at = linear.find(tensor, at + 1)) {
    const size_t end = at + tensor.size();
    if ((at == 0 || linear[at - 1] == '.') && (end == linear.size() || linear[end] == '.')) return true;
  }
  return false;
}

std::optional<WeightSpec> Recipe::WeightsOf(size_t layer, std::string_view linear) const {
  const WeightRule* decides = nullptr;
  for (const WeightRule& rule : rules) {
    if (rule.Covers(layer, linear) && (decides == nullptr || rule.Rank() > decides->Rank())) decides = &rule;
  }
  return decides == nullptr ? weights : decides->weights;
}

std::string Recipe::Text() const {
  if (IsFull()) return method;
  std::vector<std::string> options;
  if (awq && awq->loss != AwqLoss::kBlock) options.push_back(fmt::format("awq_loss={}", Name(awq->loss)));
  if (awq && awq->samples > 0) options.push_back(fmt::format("awq_samples={}", awq->samples));
  if (weights.grid != (method == "awq" ? Grid::kAwq : Grid::kGptq))
    options.push_back(fmt::format("grid={}", Name(weights.grid)));
  if (head) options.push_back(fmt::format("head={}", head->Text()));
  if (weights.range != RangeSearch::kMinMax) options.push_back(fmt::format("range={}", Name(weights.range)));
  if (weights.scale_type == DType::kF32) options.emplace_back("scale=f32");
  if (gptq.act_order) options.emplace_back("act_order=true");
  if (gptq.damp != GptqOptions().damp) options.push_back(fmt::format("damp={}", gptq.damp));
  if (!gptq.fresh_range) options.emplace_back("fresh_range=false");
  if (gptq.sink_weight != 1) options.push_back(fmt::format("sink_weight={}", gptq.sink_weight));
  if (gptq.static_groups) options.emplace_back("static_groups=true");
  for (const WeightRule& rule : rules) options.push_back(rule.Text());
  std::ranges::sort(options);
  const std::string text =
      fmt::format("{}{}-{}", awq && method != "awq" ? "awq+" : "", method, weights.Text());
  return options.empty() ? text : fmt::format("{}:{}", text, fmt::join(options, ","));
}

bool Recipe::NeedsCalibration() const {
  if (IsFull()) return false;
  return weights.range == RangeSearch::kHdiag || FindMethod(method)->Info().needs_calibration;
}

}  // namespace lowbit
