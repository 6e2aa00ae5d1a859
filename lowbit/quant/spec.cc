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

constexpr std::array<std::string_view, 5> kSmoothedNames = {"attn_in", "mlp_in", "norms", "down", "all"};

void DropEnd(std::string& text, std::string_view end) {
  if (text.ends_with(end)) text.resize(text.size() - end.size());
}

}  // namespace

std::string_view Name(Smoothed smoothed) {
  return kSmoothedNames[static_cast<size_t>(smoothed)];
}

std::string_view Name(RangeSearch range) {
  return kRangeNames[static_cast<size_t>(range)];
}

std::string_view Name(AwqLoss loss) {
  return kAwqLossNames[static_cast<size_t>(loss)];
}

Grid DefaultGrid(std::string_view method) {
  return method == "awq" ? Grid::kAwq : method == "smoothquant" ? Grid::kAbsmax : Grid::kGptq;
}

std::string_view Name(Grid grid) {
  return kGridNames[static_cast<size_t>(grid)].second;
}

std::string WeightSpec::Text() const {
  const std::string groups = group_size == 0 ? "channel" : fmt::format("g{}", group_size);
  const std::string inputs = input_bits == 0 ? "" : fmt::format("a{}", input_bits);
  return fmt::format("w{}{}-{}{}", bits, inputs, groups, symmetric ? "-sym" : "");
}

InputForm WeightSpec::InputFor(size_t cols) const {
  const size_t block = rotates ? RotationBlock(cols) : 0;
  return {.rotation = block > 1 ? block : 0, .bits = input_bits};
}

size_t WeightSpec::GroupSizeFor(size_t cols) const {
  return group_size == 0 ? cols : std::min(group_size, cols);
}

float WeightSpec::FixedInputScale(float largest) const {
  constexpr float kLeast = 1e-5f;
  if (input_bits == 0 || input_scales != InputScales::kTensor) return 0;
  return std::max(largest, kLeast) / static_cast<float>(LargestInput(input_bits));
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
  const MethodInfo info = FindMethod(method)->Info();
  if (awq && awq->loss != AwqLoss::kBlock) options.push_back(fmt::format("awq_loss={}", Name(awq->loss)));
  if (awq && awq->samples > 0) options.push_back(fmt::format("awq_samples={}", awq->samples));
  const bool is_smoothquant = method == "smoothquant";
  if (smooth && smooth->alpha != SmoothOptions().alpha)
    options.push_back(fmt::format("alpha={}", smooth->alpha));
  if (smooth && smooth->where != Smoothed::kNorms)
    options.push_back(fmt::format("smooth={}", Name(smooth->where)));
  if (is_smoothquant && !smooth) options.emplace_back("smooth=off");
  if (weights.input_bits != 0 && weights.input_scales == InputScales::kTensor)
    options.emplace_back("activations=tensor");
  if (weights.rotates) options.emplace_back("transform=hadamard");
  if (weights.grid != DefaultGrid(method)) options.push_back(fmt::format("grid={}", Name(weights.grid)));
  if (head) options.push_back(fmt::format("head={}", head->Text()));
  if (weights.range != RangeSearch::kMinMax) options.push_back(fmt::format("range={}", Name(weights.range)));
  if (weights.scale_type == DType::kF32) options.emplace_back("scale=f32");
  if (gptq.act_order) options.emplace_back("act_order=true");
  if (gptq.damp != GptqOptions().damp) options.push_back(fmt::format("damp={}", gptq.damp));
  if (!gptq.fresh_range) options.emplace_back("fresh_range=false");
  if (gptq.sink_weight != 1) options.push_back(fmt::format("sink_weight={}", gptq.sink_weight));
  if (gptq.static_groups) options.emplace_back("static_groups=true");
  if (info.has_planes && weights.group_size != kBillmBlock)
    options.push_back(fmt::format("block={}", weights.group_size));
  if (billm.damp != BillmOptions().damp) options.push_back(fmt::format("damp={}", billm.damp));
  if (billm.exact) options.emplace_back("exact=true");
  for (const WeightRule& rule : rules) options.push_back(rule.Text());
  std::ranges::sort(options);
  const std::string_view first = awq && method != "awq"      ? "awq+"
                                 : smooth && !is_smoothquant ? "smoothquant+"
                                                             : "";
  std::string spec = weights.Text();
  if (is_smoothquant) {  // always symmetric, and per channel unless it says otherwise
    DropEnd(spec, "-sym");
    DropEnd(spec, "-channel");
  }
  const std::string text = info.has_planes ? method : fmt::format("{}{}-{}", first, method, spec);
  return options.empty() ? text : fmt::format("{}:{}", text, fmt::join(options, ","));
}

bool Recipe::NeedsCalibration() const {
  if (IsFull()) return false;
  return Rescales() || FindMethod(method)->Learns(*this) != Stream::kNone;
}

}  // namespace lowbit
