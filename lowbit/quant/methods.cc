// SPDX-License-Identifier: Apache-2.0
// The table of methods. A new one is a file in methods/, a declaration and a row here.
#include <fmt/format.h>

#include <array>

#include "lowbit/quant/method.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {

const Method& Rtn();          // methods/rtn.cc
const Method& Gptq();         // methods/gptq.cc
const Method& Awq();          // methods/rtn.cc
const Method& SmoothQuant();  // methods/rtn.cc
const Method& Billm();        // methods/billm.cc

Stream Method::Learns(const Recipe& recipe) const {
  const bool measures_inputs =
      recipe.weights.input_bits > 0 && recipe.weights.input_scales == InputScales::kTensor;
  return recipe.weights.range == RangeSearch::kHdiag || recipe.Rescales() || measures_inputs ? Stream::kFloat
                                                                                             : Stream::kNone;
}

std::unique_ptr<RoundContext> Method::Prepare(const Recipe&, const WeightSpec&, const StepInputs&,
                                              const Place&, const Threads&, Notes&) const {
  return nullptr;
}

PackedTensor Method::Make(size_t rows, size_t cols, const RoundJob& job) const {
  return MakePacked(rows, cols, job.spec);
}

GptqFactor FactorOrNote(InputStatistics& inputs, const GptqOptions& options, std::string_view instead,
                        const Place& place, const Threads& threads, Notes& notes) {
  GptqFactor factor = FactorGram(inputs.Gram(), options, place, threads);
  const auto note = [&](const std::string& text) { notes.push_back(place.Text() + ": " + text); };
  if (factor.state != GramState::kFactored) {
    note(fmt::format("Gram matrix of {} tokens {}: {}", inputs.tokens, Name(factor.state), instead));
    return factor;
  }
  if (factor.damp > options.damp) note(fmt::format("damping {}, asked for {}", factor.damp, options.damp));
  if (!factor.dead.empty()) note(fmt::format("{} of {} inputs always 0", factor.dead.size(), factor.cols()));
  return factor;
}

std::span<const Method* const> Methods() {
  static const std::array methods = {&Rtn(), &Gptq(), &Awq(), &SmoothQuant(), &Billm()};
  return methods;
}

const Method* FindMethod(std::string_view name) {
  for (const Method* method : Methods()) {
    if (method->Info().name == name) return method;
  }
  return nullptr;
}

}  // namespace lowbit
