// SPDX-License-Identifier: Apache-2.0
// Reads recipes as people type them (docs/recipes.md).
#include "lowbit/quant/recipe_parser.h"

#include <fmt/format.h>

#include "lowbit/base/error.h"
#include "lowbit/quant/gptq.h"
#include "lowbit/quant/uniform.h"

namespace lowbit {
namespace recipe {
namespace {

constexpr size_t kMaxGroupDigits = 9;  // group sizes below 10^9: longer rows than any model has
constexpr size_t kMaxText = 240;       // a canonical recipe is the name of a folder

std::string MethodNames() {
  std::string names = "full";
  for (const Method* method : Methods()) names += fmt::format(", {}", method->Info().name);
  return names;
}

// Whether `fresh_range` has an effect: a group begins within a block of columns.
bool CanBeStale(const WeightSpec& spec) {
  return spec.group_size % kGptqBlock != 0;
}

}  // namespace

void TakeOptions(const WeightSpec& from, WeightSpec& to) {
  to.scale_type = from.scale_type;
  to.grid = from.grid;
  to.range = from.range;
}

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

size_t PositiveNumber(std::string_view digits, size_t max_digits) {
  if (digits.empty() || digits.size() > max_digits || digits[0] == '0') return 0;
  size_t value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  return error == std::errc() && end == digits.data() + digits.size() ? value : 0;
}

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

}  // namespace recipe

Recipe ParseRecipe(std::string_view text) {
  return recipe::Parser(text).Parse();
}

}  // namespace lowbit
