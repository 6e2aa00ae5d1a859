// SPDX-License-Identifier: Apache-2.0
// The part of a recipe behind its colon: options of methods, and rules.
#include <fmt/format.h>

#include <array>
#include <tuple>

#include "lowbit/quant/recipe_parser.h"

namespace lowbit::recipe {
namespace {

constexpr std::array kGrids = {Grid::kGptq, Grid::kAwq, Grid::kAbsmax, Grid::kRot, Grid::kFull};
constexpr std::array kRanges = {RangeSearch::kMinMax, RangeSearch::kMse, RangeSearch::kHdiag};
constexpr std::array kSmoothed = {Smoothed::kAttnIn, Smoothed::kMlpIn, Smoothed::kNorms, Smoothed::kDown,
                                  Smoothed::kAll};
constexpr std::array kAwqLosses = {AwqLoss::kBlock, AwqLoss::kHessian, AwqLoss::kHessianRows};
constexpr std::string_view kGptqOptionNames =
    "act_order=…, damp=…, fresh_range=…, sink_weight=…, static_groups=…, ";
constexpr std::string_view kBillmOptions =
    "an option: block=…, damp=…, exact=…, head=…, scale=…, layers.0-3=keep or tensor.down_proj=keep";

constexpr size_t kMaxSampleDigits = 9;  // a calibration set has fewer
constexpr size_t kMaxSinkDigits = 6;
constexpr size_t kLeastBlock = 8,
                 kMostBlock = 4096;  // of BiLLM: fewer have nothing to share, more cost memory
constexpr size_t kMaxBlockDigits = 4;

constexpr std::string_view kLayersPrefix = "layers.", kTensorPrefix = "tensor.";
constexpr std::string_view kNameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
constexpr size_t kMaxRules = 200;

std::optional<size_t> LayerNumber(std::string_view digits) {
  constexpr size_t kMaxDigits = 5;
  if (digits == "0") return 0;
  const size_t number = PositiveNumber(digits, kMaxDigits);
  return number == 0 ? std::nullopt : std::optional(number);
}

// And those of inputs for every linear of a layer.
void TakeInputOptions(const WeightSpec& from, WeightSpec& to) {
  to.rotates = from.rotates;
  if (to.input_bits > 0) to.input_scales = from.input_scales;
}

}  // namespace

// "layers.0-3", "tensor.down_proj", "layers.0-3.down_proj", the prefix known to be there.
void Parser::ParseRule(Part name, Part value, const MethodInfo& info) {
  constexpr size_t kPrefix = std::string_view("layers.").size();
  WeightRule rule;
  Part tensor{name.text.substr(kPrefix), name.at + kPrefix};
  bool has_tensor = true;
  if (name.text.starts_with(kLayersPrefix)) {
    const std::vector<Part> parts = Split(tensor, '.');
    const size_t dash = parts[0].text.find('-');
    const auto first = LayerNumber(parts[0].text.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : LayerNumber(parts[0].text.substr(dash + 1));
    if (!first || !last || (dash != std::string_view::npos && *last <= *first))
      Fail(parts[0], "layers from 0 on, as 5 or 0-3");
    rule.layers = {*first, *last};
    has_tensor = parts.size() > 1;
    if (has_tensor)
      tensor = {text_.substr(parts[1].at, name.at + name.text.size() - parts[1].at), parts[1].at};
  }
  for (const Part part : has_tensor ? Split(tensor, '.') : std::vector<Part>()) {
    if (part.text.empty() || part.text.find_first_not_of(kNameLetters) != std::string_view::npos)
      Fail(part, "a linear's name or whole parts of it, as down_proj or self_attn");
  }
  if (has_tensor) rule.tensor = std::string(tensor.text);
  if (info.has_planes && value.text != "keep")
    Fail(value, fmt::format("keep: {} has no other bits and groups", info.name));
  rule.weights = ParseKeptOr(value, info.min_bits, info.max_bits);
  if (rules_.size() == kMaxRules) Fail(name, fmt::format("at most {} rules", kMaxRules));
  rules_.push_back({std::move(rule), name, value});
}

// Rules of neighbouring layers that say the same become one, so that a recipe has one name.
void Parser::TakeRules(Recipe& recipe) {
  for (ParsedRule& parsed : rules_) {
    if (!parsed.rule.weights) continue;
    TakeOptions(recipe.weights, *parsed.rule.weights);
    TakeInputOptions(recipe.weights, *parsed.rule.weights);
    CheckGrid(*parsed.rule.weights, parsed.value);
  }
  std::ranges::sort(rules_, {}, [](const ParsedRule& parsed) {
    const auto& [rule, name, value] = parsed;
    return std::tuple(rule.tensor, rule.layers.has_value(), rule.layers ? rule.layers->first : 0);
  });
  for (const ParsedRule& parsed : rules_) {
    const WeightRule& rule = parsed.rule;
    WeightRule* last = recipe.rules.empty() ? nullptr : &recipe.rules.back();
    if (last != nullptr && last->tensor == rule.tensor && last->layers && rule.layers) {
      if (rule.layers->first <= last->layers->last)
        Fail(parsed.name, fmt::format("other layers than '{}' has", last->Name()));
      if (rule.layers->first == last->layers->last + 1 && rule.weights == last->weights) {
        last->layers->last = rule.layers->last;
        continue;
      }
    }
    recipe.rules.push_back(rule);
  }
  std::ranges::sort(recipe.rules, {}, &WeightRule::Name);
}

void Parser::ParseOption(Part option, Recipe& recipe) {
  const MethodInfo info = FindMethod(recipe.method)->Info();
  const std::string kOptions = info.has_planes ? std::string(kBillmOptions)
                                               : fmt::format(
                                                     "an option: {}{}activations=…, grid=…, head=…, range=…, "
                                                     "scale=…, transform=…, layers.0-3=… or "
                                                     "tensor.down_proj=…",
                                                     recipe.method == "gptq" ? kGptqOptionNames : "",
                                                     recipe.awq      ? "awq_loss=…, awq_samples=…, "
                                                     : takes_smooth_ ? "alpha=…, smooth=…, "
                                                                     : "");
  const size_t equals = option.text.find('=');
  if (equals == std::string_view::npos) Fail(option, kOptions);
  const Part name{option.text.substr(0, equals), option.at};
  const Part value{option.text.substr(equals + 1), option.at + equals + 1};
  if (!seen_.insert(name.text).second) Fail(option, fmt::format("'{}' only once", Printable(name.text, 40)));

  if (name.text.starts_with(kLayersPrefix) || name.text.starts_with(kTensorPrefix)) {
    ParseRule(name, value, info);
  } else if (info.has_planes && (name.text == "grid" || name.text == "range")) {
    Fail(option, kOptions);
  } else if (name.text == "grid") {
    const auto grid = std::ranges::find(kGrids, value.text, [](Grid g) { return Name(g); });
    if (grid == kGrids.end()) Fail(value, "a grid: gptq, awq, absmax, rot or full");
    recipe.weights.grid = *grid;
    grid_ = option;
  } else if (name.text == "head") {
    recipe.head = ParseKeptOr(value, 1, 8);
    head_ = value;
    if (recipe.head && recipe.head->input_bits > 0)
      Fail(value, "no bits of activations: what the head reads is not rounded");
  } else if (name.text == "activations") {
    if (value.text != "token" && value.text != "tensor") Fail(value, "token or tensor");
    recipe.weights.input_scales = value.text == "token" ? InputScales::kToken : InputScales::kTensor;
    activations_ = option;
  } else if (name.text == "transform") {
    if (value.text != "hadamard" && value.text != "none") Fail(value, "hadamard or none");
    recipe.weights.rotates = value.text == "hadamard";
    transform_ = option;
  } else if (takes_smooth_ && (name.text == "alpha" || name.text == "smooth")) {
    ParseSmoothOption(name, value, recipe);
  } else if (name.text == "range") {
    const auto range = std::ranges::find(kRanges, value.text, [](RangeSearch r) { return Name(r); });
    if (range == kRanges.end()) Fail(value, "a range: minmax, mse or hdiag");
    recipe.weights.range = *range;
    range_ = option;
  } else if (name.text == "scale") {
    if (value.text != "f16" && value.text != "f32") Fail(value, "a type of scales: f16 or f32");
    recipe.weights.scale_type = value.text == "f16" ? DType::kF16 : DType::kF32;
  } else if (recipe.awq && ParseAwqOption(name, value, *recipe.awq)) {
    if (name.text == "awq_samples") awq_samples_ = option;
  } else if (info.has_planes ? !ParseBillmOption(name, value, recipe)
                             : recipe.method != "gptq" || !ParseGptqOption(name, value, recipe.gptq)) {
    Fail(option, kOptions);
  }
}

// False when there is no such option.
bool Parser::ParseAwqOption(Part name, Part value, AwqOptions& awq) const {
  if (name.text == "awq_loss") {
    const auto loss = std::ranges::find(kAwqLosses, value.text, [](AwqLoss l) { return Name(l); });
    if (loss == kAwqLosses.end()) Fail(value, "a loss: block, hessian or hessian_rows");
    awq.loss = *loss;
  } else if (name.text == "awq_samples") {
    awq.samples = PositiveNumber(value.text, kMaxSampleDigits);
    if (awq.samples == 0) Fail(value, "a number of sequences (1 or more, no leading zeros)");
  } else {
    return false;
  }
  return true;
}

// "smooth=off" leaves nothing to smooth.
void Parser::ParseSmoothOption(Part name, Part value, Recipe& recipe) {
  if (name.text == "alpha") {
    const char* end = value.text.data() + value.text.size();
    const auto [at, error] = std::from_chars(value.text.data(), end, alpha_, std::chars_format::fixed);
    if (error != std::errc() || at != end || !(alpha_ >= 0 && alpha_ <= 1))
      Fail(value, "a share of the inputs' size from 0 to 1, as 0.8");
    alpha_at_ = value;
  } else if (value.text == "off") {
    if (recipe.method != "smoothquant")
      Fail(value, "norms, attn_in, mlp_in, down or all before another method");
    recipe.smooth.reset();
  } else {
    const auto where = std::ranges::find(kSmoothed, value.text, [](Smoothed s) { return Name(s); });
    if (where == kSmoothed.end()) Fail(value, "off, norms, attn_in, mlp_in, down or all");
    recipe.smooth.emplace().where = *where;
  }
}

bool Parser::ParseFlag(Part value) const {
  if (value.text != "true" && value.text != "false") Fail(value, "true or false");
  return value.text == "true";
}

double Parser::ParseDamp(Part value) const {
  double damp = 0;
  const char* end = value.text.data() + value.text.size();
  const auto [at, error] = std::from_chars(value.text.data(), end, damp, std::chars_format::fixed);
  if (error != std::errc() || at != end || !(damp >= 1e-6 && damp <= 1)) {
    Fail(value, "a share of the mean diagonal from 0.000001 to 1, as 0.01");
  }
  return damp;
}

// As ParseAwqOption.
bool Parser::ParseBillmOption(Part name, Part value, Recipe& recipe) const {
  if (name.text == "exact") {
    recipe.billm.exact = ParseFlag(value);
  } else if (name.text == "damp") {
    recipe.billm.damp = ParseDamp(value);
  } else if (name.text == "block") {
    const size_t block = PositiveNumber(value.text, kMaxBlockDigits);
    if (block < kLeastBlock || block > kMostBlock)
      Fail(value, fmt::format("a number of columns from {} to {}, as 128", kLeastBlock, kMostBlock));
    recipe.weights.group_size = block;
  } else {
    return false;
  }
  return true;
}

// The same.
bool Parser::ParseGptqOption(Part name, Part value, GptqOptions& gptq) const {
  if (name.text == "act_order") {
    gptq.act_order = ParseFlag(value);
  } else if (name.text == "static_groups") {
    gptq.static_groups = ParseFlag(value);
  } else if (name.text == "fresh_range") {
    gptq.fresh_range = ParseFlag(value);
  } else if (name.text == "damp") {
    gptq.damp = ParseDamp(value);
  } else if (name.text == "sink_weight") {
    gptq.sink_weight = static_cast<uint32_t>(PositiveNumber(value.text, kMaxSinkDigits));
    if (gptq.sink_weight == 0) Fail(value, "a whole number of times from 1 to 999999, as 256");
  } else {
    return false;
  }
  return true;
}

}  // namespace lowbit::recipe
