// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/spec.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <set>
#include <utility>
#include <vector>

#include "lowbit/base/error.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/uniform.h"

namespace lowbit {
namespace {

constexpr std::array kGridNames = {
    std::pair{Grid::kGptq, "gptq"}, std::pair{Grid::kAwq, "awq"},   std::pair{Grid::kAbsmax, "absmax"},
    std::pair{Grid::kRot, "rot"},   std::pair{Grid::kFull, "full"},
};

constexpr std::array<std::string_view, 3> kRangeNames = {"minmax", "mse", "hdiag"};

constexpr std::array<std::string_view, 3> kAwqLossNames = {"block", "hessian", "hessian_rows"};

constexpr std::string_view kGptqOptionNames =
    "act_order=…, damp=…, fresh_range=…, sink_weight=…, static_groups=…, ";

constexpr size_t kMaxSampleDigits = 9;  // a calibration set has fewer
constexpr size_t kMaxGroupDigits = 9;   // group sizes below 10^9: longer rows than any model has
constexpr size_t kMaxSinkDigits = 6;

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

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Recipe Parse();

 private:
  [[noreturn]] void Fail(Part part, std::string_view expected) const;
  void RefuseLaterSyntax() const;
  const Method& ParseMethod(Part name) const;
  WeightSpec ParseWeights(std::span<const Part> parts, Part whole, int min_bits, int max_bits) const;
  void ParseOption(Part option, Recipe& recipe);
  std::optional<WeightSpec> ParseHead(Part value) const;
  void CheckGrid(const WeightSpec& spec, Part weights) const;
  bool ParseAwqOption(Part name, Part value, AwqOptions& awq) const;
  bool ParseGptqOption(Part name, Part value, GptqOptions& gptq) const;
  void CheckGptq(const Recipe& recipe) const;

  std::string_view text_;
  std::set<std::string_view> seen_;                                     // options
  Part grid_{"", 0}, range_{"", 0}, head_{"", 0}, awq_samples_{"", 0};  // where they were set
};

void Parser::Fail(Part part, std::string_view expected) const {
  const std::string found = part.text.empty() ? "nothing" : fmt::format("'{}'", Printable(part.text, 60));
  throw Error(
      ErrorKind::kUsage,
      Place(fmt::format("recipe '{}'", Printable(text_, 120))).Item(fmt::format("character {}", part.at + 1)),
      fmt::format("found {}, expected {}", found, expected));
}

// What other quantization tools and later versions write, and this one does not read.
void Parser::RefuseLaterSyntax() const {
  if (const size_t at = text_.find('@'); at != std::string_view::npos) {
    Fail({text_.substr(at), at}, "a recipe without a preset; write its options after ':'");
  }
}

const Method& Parser::ParseMethod(Part name) const {
  if (const Method* method = FindMethod(name.text)) return *method;
  Fail(name, fmt::format("a method: {}", MethodNames()));
}

WeightSpec Parser::ParseWeights(std::span<const Part> parts, Part whole, int min_bits, int max_bits) const {
  const Part end{"", whole.at + whole.text.size()};
  WeightSpec spec;

  const std::string bits_expected = fmt::format("bits, w{} to w{}", min_bits, max_bits);
  const Part bits = parts.empty() ? end : parts[0];
  spec.bits = bits.text.starts_with('w') ? static_cast<int>(PositiveNumber(bits.text.substr(1), 1)) : 0;
  if (spec.bits < min_bits || spec.bits > max_bits) Fail(bits, bits_expected);

  const Part group = parts.size() < 2 ? end : parts[1];
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

std::optional<WeightSpec> Parser::ParseHead(Part value) const {
  if (value.text == "keep") return std::nullopt;
  if (!value.text.starts_with('w')) Fail(value, "keep, or weights as w8-g64, w8-channel, w8-g64-sym");
  return ParseWeights(Split(value, '-'), value, 1, 8);
}

void Parser::ParseOption(Part option, Recipe& recipe) {
  const std::string kOptions = fmt::format("an option: {}{}grid=…, head=…, range=… or scale=…",
                                           recipe.method == "gptq" ? kGptqOptionNames : "",
                                           recipe.awq ? "awq_loss=…, awq_samples=…, " : "");
  const size_t equals = option.text.find('=');
  if (equals == std::string_view::npos) Fail(option, kOptions);
  const Part name{option.text.substr(0, equals), option.at};
  const Part value{option.text.substr(equals + 1), option.at + equals + 1};
  if (!seen_.insert(name.text).second) Fail(option, fmt::format("'{}' only once", Printable(name.text, 40)));

  if (name.text == "grid") {
    const auto row = std::find_if(kGridNames.begin(), kGridNames.end(),
                                  [&](const auto& known) { return value.text == known.second; });
    if (row == kGridNames.end()) Fail(value, "a grid: gptq, awq, absmax, rot or full");
    recipe.weights.grid = row->first;
    grid_ = option;
  } else if (name.text == "head") {
    recipe.head = ParseHead(value);
    head_ = value;
  } else if (name.text == "range") {
    const auto name_of = std::find(kRangeNames.begin(), kRangeNames.end(), value.text);
    if (name_of == kRangeNames.end()) Fail(value, "a range: minmax, mse or hdiag");
    recipe.weights.range = static_cast<RangeSearch>(name_of - kRangeNames.begin());
    range_ = option;
  } else if (name.text == "scale") {
    if (value.text != "f16" && value.text != "f32") Fail(value, "a type of scales: f16 or f32");
    recipe.weights.scale_type = value.text == "f16" ? DType::kF16 : DType::kF32;
  } else if (recipe.awq && ParseAwqOption(name, value, *recipe.awq)) {
    if (name.text == "awq_samples") awq_samples_ = option;
  } else if (recipe.method != "gptq" || !ParseGptqOption(name, value, recipe.gptq)) {
    Fail(option, kOptions);
  }
}

// False when there is no such option.
bool Parser::ParseAwqOption(Part name, Part value, AwqOptions& awq) const {
  if (name.text == "awq_loss") {
    const auto name_of = std::find(kAwqLossNames.begin(), kAwqLossNames.end(), value.text);
    if (name_of == kAwqLossNames.end()) Fail(value, "a loss: block, hessian or hessian_rows");
    awq.loss = static_cast<AwqLoss>(name_of - kAwqLossNames.begin());
  } else if (name.text == "awq_samples") {
    awq.samples = PositiveNumber(value.text, kMaxSampleDigits);
    if (awq.samples == 0) Fail(value, "a number of sequences (1 or more, no leading zeros)");
  } else {
    return false;
  }
  return true;
}

// The same.
bool Parser::ParseGptqOption(Part name, Part value, GptqOptions& gptq) const {
  const auto flag = [&] {
    if (value.text != "true" && value.text != "false") Fail(value, "true or false");
    return value.text == "true";
  };
  if (name.text == "act_order") {
    gptq.act_order = flag();
  } else if (name.text == "static_groups") {
    gptq.static_groups = flag();
  } else if (name.text == "fresh_range") {
    gptq.fresh_range = flag();
  } else if (name.text == "damp") {
    const char* end = value.text.data() + value.text.size();
    const auto [at, error] = std::from_chars(value.text.data(), end, gptq.damp, std::chars_format::fixed);
    if (error != std::errc() || at != end || !(gptq.damp >= 1e-6 && gptq.damp <= 1)) {
      Fail(value, "a share of the mean diagonal from 0.000001 to 1, as 0.01");
    }
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
  const bool per_channel = recipe.weights.group_size == 0;
  if (per_channel && (recipe.gptq.static_groups || !recipe.gptq.fresh_range)) {
    Fail({text_, 0},
         "groups beside static_groups and fresh_range: a range per channel is found before anything else");
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
  RefuseLaterSyntax();
  const size_t colon = text_.find(':');
  const Part main{text_.substr(0, colon), 0};
  const std::vector<Part> parts = Split(main, '-');

  Recipe recipe;
  const std::vector<Part> chain = Split(parts[0], '+');
  recipe.method = std::string(chain.back().text);
  if (chain.size() > 2) Fail(chain[2], "at most two methods joined by '+', as awq+gptq");
  if (chain.size() == 2 && (chain[0].text != "awq" || recipe.method != "gptq")) {
    Fail(parts[0], fmt::format("awq+gptq, or one method: {}", MethodNames()));
  }
  if (chain.size() == 2 || recipe.method == "awq") recipe.awq.emplace();
  if (recipe.method == "awq") recipe.weights.grid = Grid::kAwq;
  if (recipe.IsFull()) {
    if (text_.size() > 4) Fail({text_.substr(4), 4}, "nothing after full: it quantizes nothing");
    return recipe;
  }
  const MethodInfo info = ParseMethod(chain.back()).Info();
  const Grid grid = recipe.weights.grid;
  recipe.weights = ParseWeights(std::span(parts).subspan(1), main, info.min_bits, info.max_bits);
  recipe.weights.grid = grid;
  if (colon != std::string_view::npos) {
    for (const Part option : Split({text_.substr(colon + 1), colon + 1}, ',')) ParseOption(option, recipe);
  }

  CheckGrid(recipe.weights, {main.text.substr(parts[1].at), parts[1].at});
  if (recipe.head) {  // options hold for every packed matrix
    recipe.head->scale_type = recipe.weights.scale_type;
    recipe.head->grid = recipe.weights.grid;
    recipe.head->range = recipe.weights.range;
    CheckGrid(*recipe.head, head_);
  }
  CheckGptq(recipe);
  if (recipe.awq && recipe.awq->samples > 0 && recipe.awq->loss != AwqLoss::kBlock) {
    Fail(awq_samples_, "awq_samples only with awq_loss=block: other losses come from all tokens");
  }
  return recipe;
}

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
  std::ranges::sort(options);
  const std::string text =
      fmt::format("{}{}-{}", awq && method != "awq" ? "awq+" : "", method, weights.Text());
  return options.empty() ? text : fmt::format("{}:{}", text, fmt::join(options, ","));
}

bool Recipe::NeedsCalibration() const {
  if (IsFull()) return false;
  return weights.range == RangeSearch::kHdiag || FindMethod(method)->Info().needs_calibration;
}

Recipe ParseRecipe(std::string_view text) {
  return Parser(text).Parse();
}

}  // namespace lowbit
