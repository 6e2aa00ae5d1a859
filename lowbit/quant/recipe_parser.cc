// SPDX-License-Identifier: Apache-2.0
// Reads recipes as people type them (docs/recipes.md).
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "lowbit/base/error.h"
#include "lowbit/quant/gptq.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/spec.h"
#include "lowbit/quant/uniform.h"

namespace lowbit {
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
constexpr size_t kMaxGroupDigits = 9;   // group sizes below 10^9: longer rows than any model has
constexpr size_t kMaxSinkDigits = 6;
constexpr size_t kLeastBlock = 8,
                 kMostBlock = 4096;  // of BiLLM: fewer have nothing to share, more cost memory
constexpr size_t kMaxBlockDigits = 4;

std::string MethodNames() {
  std::string names = "full";
  for (const Method* method : Methods()) names += fmt::format(", {}", method->Info().name);
  return names;
}

// A piece of the recipe and where it begins in it.
struct Part {
  std::string_view text;
  size_t at;
};

std::vector<Part> Split(Part whole, char separator) {
  std::vector<Part> parts;
  size_t begin = 0;
  for (size_t i = 0; i <= whole.text.size(); ++i) {
    if (i < whole.text.size() && whole.text[i] != separator) continue;
    parts.push_back({whole.text.substr(begin, i - begin), whole.at + begin});
    begin = i + 1;
  }
  return parts;
}

// A whole number written in digits only, without leading zeros. 0 when it is anything else.
size_t PositiveNumber(std::string_view digits, size_t max_digits) {
  if (digits.empty() || digits.size() > max_digits || digits[0] == '0') return 0;
  size_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return error == std::errc() && end == digits.data() + digits.size() ? value : 0;
}

constexpr std::string_view kLayersPrefix = "layers.", kTensorPrefix = "tensor.";
constexpr std::string_view kNameLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
constexpr size_t kMaxRules = 200;
constexpr size_t kMaxText = 240;  // a canonical recipe is the name of a folder

std::optional<size_t> LayerNumber(std::string_view digits) {
  constexpr size_t kMaxDigits = 5;
  if (digits == "0") return 0;
  const size_t number = PositiveNumber(digits, kMaxDigits);
  return number == 0 ? std::nullopt : std::optional(number);
}

// Options hold for every packed matrix.
void TakeOptions(const WeightSpec& from, WeightSpec& to) {
  to.scale_type = from.scale_type;
  to.grid = from.grid;
  to.range = from.range;
}

// And those of inputs for every linear of a layer.
void TakeInputOptions(const WeightSpec& from, WeightSpec& to) {
  to.rotates = from.rotates;
  if (to.input_bits > 0) to.input_scales = from.input_scales;
}

template <class Predicate>
bool AnyWeights(const Recipe& recipe, Predicate&& predicate) {
  return predicate(recipe.weights) || std::ranges::any_of(recipe.rules, [&](const WeightRule& rule) {
           return rule.weights && predicate(*rule.weights);
         });
}

// Whether `fresh_range` has an effect: a group begins within a block of columns.
bool CanBeStale(const WeightSpec& spec) {
  return spec.group_size % kGptqBlock != 0;
}

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Recipe Parse();

 private:
  [[noreturn]] void Fail(Part part, std::string_view expected) const;
  Part TakePreset(Part method, bool& is_study) const;
  void ApplyStudyPreset(Recipe& recipe, std::span<const Part> weights) const;
  const Method& ParseMethod(Part name) const;
  WeightSpec ParseWeights(std::span<const Part> parts, Part whole, int min_bits, int max_bits,
                          bool groups_are_optional = false) const;
  void ParseOption(Part option, Recipe& recipe);
  std::optional<WeightSpec> ParseKeptOr(Part value, int min_bits, int max_bits) const;
  void CheckGrid(const WeightSpec& spec, Part weights) const;
  bool ParseAwqOption(Part name, Part value, AwqOptions& awq) const;
  void ParseSmoothOption(Part name, Part value, Recipe& recipe);
  void CheckInputs(Recipe& recipe);
  void ParseRule(Part name, Part value, const MethodInfo& info);
  void TakeRules(Recipe& recipe);
  bool ParseGptqOption(Part name, Part value, GptqOptions& gptq) const;
  bool ParseBillmOption(Part name, Part value, Recipe& recipe) const;
  WeightSpec PlanesOf(std::span<const Part> parts) const;
  bool ParseFlag(Part value) const;
  double ParseDamp(Part value) const;
  void CheckGptq(const Recipe& recipe) const;

  std::string_view text_;
  struct ParsedRule {
    WeightRule rule;
    Part name, value;
  };
  std::vector<ParsedRule> rules_;
  std::set<std::string_view> seen_;                                     // options
  Part grid_{"", 0}, range_{"", 0}, head_{"", 0}, awq_samples_{"", 0};  // where they were set
  Part activations_{"", 0}, transform_{"", 0}, alpha_at_{"", 0};        // the same
  double alpha_ = 0;
  bool is_smoothquant_ = false, takes_smooth_ = false;
};

void Parser::Fail(Part part, std::string_view expected) const {
  const std::string found = part.text.empty() ? "nothing" : fmt::format("'{}'", Printable(part.text, 60));
  throw Error(
      ErrorKind::kUsage,
      Place(fmt::format("recipe '{}'", Printable(text_, 120))).Item(fmt::format("character {}", part.at + 1)),
      fmt::format("found {}, expected {}", found, expected));
}

// The method of "gptq@study", and whether it goes by that preset.
Part Parser::TakePreset(Part method, bool& is_study) const {
  const size_t at = text_.find('@');
  if (at == std::string_view::npos) return method;
  const Part preset{text_.substr(at, method.at + method.text.size() - at), at};
  if (at < method.at || at >= method.at + method.text.size())
    Fail({text_.substr(at), at}, "a preset only behind a method, as gptq@study-w4-g128");
  if (preset.text != "@study") Fail(preset, "@study, the only preset, or nothing");
  const Part name{method.text.substr(0, at - method.at), method.at};
  const Method* known = FindMethod(name.text);
  if (method.at != 0 || name.text == "full" || (known != nullptr && known->Info().has_planes))
    Fail(preset, "@study only behind rtn, gptq, awq or smoothquant, alone: the study has nothing else");
  is_study = true;
  return name;
}

// Defaults that round as the study's published code does (docs/recipes.md); what that code cannot do is refused.
void Parser::ApplyStudyPreset(Recipe& recipe, std::span<const Part> weights) const {
  const WeightSpec& spec = recipe.weights;
  if (spec.bits == 1) Fail(weights[0], "w2 to w8 beside @study: its code has no 1 bit of this kind");
  if (is_smoothquant_) {
    if (spec.group_size != 0) Fail(weights[1], "nothing: the study's code has no groups here");
  } else {
    if (spec.symmetric) Fail(weights[2], "nothing: the study rounds asymmetrically");
    if (spec.input_bits != 0)
      Fail(weights[0], "no bits of activations: the study has them in smoothquant alone");
  }
  if (recipe.method == "rtn" && spec.group_size != 0)
    Fail(weights[1], "channel: the study's code does not look at groups when it rounds to nearest");
  recipe.gptq.act_order = recipe.method == "gptq";
  // It stores what GPTQ made, scales in f16; RTN and AWQ are measured with the scales they computed.
  recipe.weights.scale_type = recipe.method == "gptq" ? DType::kF16 : DType::kF32;
}

const Method& Parser::ParseMethod(Part name) const {
  if (const Method* method = FindMethod(name.text)) return *method;
  Fail(name, fmt::format("a method: {}", MethodNames()));
}

WeightSpec Parser::ParseWeights(std::span<const Part> parts, Part whole, int min_bits, int max_bits,
                                bool groups_are_optional) const {
  const Part end{"", whole.at + whole.text.size()};
  WeightSpec spec;

  const std::string bits_expected = fmt::format("bits, w{} to w{}", min_bits, max_bits);
  const Part bits = parts.empty() ? end : parts[0];
  const size_t a = std::min(bits.text.find('a'), bits.text.size());
  spec.bits =
      bits.text.starts_with('w') ? static_cast<int>(PositiveNumber(bits.text.substr(1, a - 1), 1)) : 0;
  if (spec.bits < min_bits || spec.bits > max_bits) Fail(bits, bits_expected);
  if (a < bits.text.size()) {
    const Part inputs{bits.text.substr(a), bits.at + a};
    spec.input_bits = static_cast<int>(PositiveNumber(inputs.text.substr(1), 1));
    if (spec.input_bits < 2 || spec.input_bits > 8) Fail(inputs, "bits of activations, a2 to a8, or nothing");
    if (spec.bits == 1) Fail(inputs, "nothing beside w1: its levels are no integers");
  }

  const Part group = parts.size() < 2 ? end : parts[1];
  spec.symmetric = is_smoothquant_;
  if (groups_are_optional && parts.size() < 2) return spec;
  if (group.text != "channel") {
    spec.group_size = group.text.starts_with('g') ? PositiveNumber(group.text.substr(1), kMaxGroupDigits) : 0;
    if (spec.group_size == 0) Fail(group, "a group size as g128 (1 or more, no leading zeros), or channel");
  }

  if (parts.size() > 2) {
    if (parts[2].text != "sym") Fail(parts[2], "sym, or nothing");
    if (spec.bits == 1) Fail(parts[2], "nothing: at 1 bit a group has a mean and two levels around it");
    spec.symmetric = true;
  }
  if (parts.size() > 3) Fail(parts[3], "nothing after sym but options behind ':'");
  return spec;
}

// What a method that names its bits and groups itself begins with.
WeightSpec Parser::PlanesOf(std::span<const Part> parts) const {
  if (parts.size() > 1)
    Fail(parts[1],
         fmt::format("nothing behind {} but options behind ':': it has about 1 bit", parts[0].text));
  return {.bits = 1, .group_size = kBillmBlock, .planes = true};
}

std::optional<WeightSpec> Parser::ParseKeptOr(Part value, int min_bits, int max_bits) const {
  if (value.text == "keep") return std::nullopt;
  if (!value.text.starts_with('w')) Fail(value, "keep, or weights as w8-g64, w8-channel, w8-g64-sym");
  return ParseWeights(Split(value, '-'), value, min_bits, max_bits);
}

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

// What has no effect, or was not thought through, is refused.
void Parser::CheckInputs(Recipe& recipe) {
  if (!alpha_at_.text.empty()) {
    if (!recipe.smooth) Fail(alpha_at_, "no alpha beside smooth=off");
    recipe.smooth->alpha = alpha_;
  }
  const bool rounds = AnyWeights(recipe, [](const WeightSpec& spec) { return spec.input_bits > 0; });
  const bool is_static = recipe.weights.input_scales == InputScales::kTensor;
  if (!activations_.text.empty() && recipe.weights.input_bits == 0)
    Fail(activations_, "activations=… only beside their bits, as w8a8");
  if (rounds && is_static && recipe.weights.rotates)
    Fail(activations_, "activations=token beside transform=hadamard: what is rotated was not measured");
  const bool is_binary = AnyWeights(recipe, [](const WeightSpec& spec) { return spec.bits == 1; });
  if (recipe.weights.rotates && is_binary) Fail(transform_, "transform=none beside w1");
  if (recipe.weights.rotates && recipe.awq && recipe.weights.range == RangeSearch::kHdiag)
    Fail(range_, "range=minmax or mse beside awq and transform=hadamard");
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

// What has no effect must not make two names of one recipe.
void Parser::CheckGptq(const Recipe& recipe) const {
  const bool has_groups = AnyWeights(recipe, [](const WeightSpec& spec) { return spec.group_size != 0; });
  if (!has_groups && (recipe.gptq.static_groups || !recipe.gptq.fresh_range)) {
    Fail({text_, 0},
         "groups beside static_groups and fresh_range: a range per channel is found before anything else");
  }
  if (!recipe.gptq.fresh_range && !AnyWeights(recipe, CanBeStale)) {
    Fail({text_, 0}, fmt::format("fresh_range=true beside {}: no group begins within a block of {} columns",
                                 recipe.weights.Text(), kGptqBlock));
  }
  if (recipe.gptq.static_groups && !recipe.gptq.fresh_range) {
    Fail({text_, 0},
         "static_groups=true or fresh_range=false, not both: static ranges are found before anything else");
  }
}

// Options that shape uniform levels must have such levels to shape.
void Parser::CheckGrid(const WeightSpec& spec, Part weights) const {
  if (spec.bits == 1) {
    if (spec.grid != Grid::kGptq) Fail(grid_, "no other grid beside w1: 1 bit has its own levels");
    if (spec.range != RangeSearch::kMinMax) Fail(range_, "range=minmax beside w1: 1 bit has its own levels");
    return;
  }
  if (FindUniformRule(spec.grid, spec.symmetric) == nullptr) {
    Fail(weights, fmt::format("{}-sym: grid={} is symmetric only", spec.Text(), Name(spec.grid)));
  }
  if (!HasRangeSearch(spec.grid, spec.range)) {
    const bool has_hdiag = HasRangeSearch(spec.grid, RangeSearch::kHdiag);
    Fail(range_,
         fmt::format("range=minmax{} beside grid={}", has_hdiag ? " or range=hdiag" : "", Name(spec.grid)));
  }
}

Recipe Parser::Parse() {
  const size_t colon = text_.find(':');
  const Part main{text_.substr(0, colon), 0};
  const std::vector<Part> parts = Split(main, '-');

  Recipe recipe;
  std::vector<Part> chain = Split(parts[0], '+');
  bool is_study = false;
  chain.back() = TakePreset(chain.back(), is_study);
  recipe.method = std::string(chain.back().text);
  if (chain.size() > 2) Fail(chain[2], "at most two methods joined by '+', as awq+gptq");
  const bool smooths = chain[0].text == "smoothquant";
  if (chain.size() == 2 && ((chain[0].text != "awq" && !smooths) || recipe.method != "gptq")) {
    Fail(parts[0], fmt::format("awq+gptq, smoothquant+gptq, or one method: {}", MethodNames()));
  }
  if (chain[0].text == "awq") recipe.awq.emplace();
  is_smoothquant_ = recipe.method == "smoothquant";
  takes_smooth_ = smooths;
  if (smooths && !is_study) recipe.smooth.emplace();
  recipe.weights.grid = DefaultGrid(recipe.method);
  if (recipe.IsFull()) {
    if (text_.size() > 4) Fail({text_.substr(4), 4}, "nothing after full: it quantizes nothing");
    return recipe;
  }
  const MethodInfo info = ParseMethod(chain.back()).Info();
  const Grid grid = recipe.weights.grid;
  recipe.weights = info.has_planes ? PlanesOf(parts)
                                   : ParseWeights(std::span(parts).subspan(1), main, info.min_bits,
                                                  info.max_bits, is_smoothquant_);
  if (is_smoothquant_ && recipe.weights.input_bits == 0)
    Fail({"", parts[1].at + parts[1].text.size()}, "bits of activations, as w8a8");
  recipe.weights.grid = grid;
  if (is_study) ApplyStudyPreset(recipe, std::span(parts).subspan(1));
  if (colon != std::string_view::npos) {
    for (const Part option : Split({text_.substr(colon + 1), colon + 1}, ',')) ParseOption(option, recipe);
  }

  if (!info.has_planes) CheckGrid(recipe.weights, {main.text.substr(parts[1].at), parts[1].at});
  if (recipe.head) {
    TakeOptions(recipe.weights, *recipe.head);
    CheckGrid(*recipe.head, head_);
  }
  CheckInputs(recipe);
  TakeRules(recipe);
  if (is_study && recipe.method == "gptq" && !seen_.contains("fresh_range"))
    recipe.gptq.fresh_range = !AnyWeights(recipe, CanBeStale);
  CheckGptq(recipe);
  if (recipe.awq && recipe.awq->samples > 0 && recipe.awq->loss != AwqLoss::kBlock) {
    Fail(awq_samples_, "awq_samples only with awq_loss=block: other losses come from all tokens");
  }
  if (recipe.Text().size() > kMaxText)
    Fail({text_, 0}, fmt::format("at most {} characters: a recipe is the name of a folder", kMaxText));
  return recipe;
}

}  // namespace

Recipe ParseRecipe(std::string_view text) {
  return Parser(text).Parse();
}

}  // namespace lowbit
