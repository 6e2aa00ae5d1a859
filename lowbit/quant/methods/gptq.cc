// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/gptq.h"

#include "lowbit/quant/method.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

struct Factor : RoundContext {
  GptqFactor gptq;
};

// Column by column, the error of each one spread over those that follow (arXiv 2210.17323).
class GptqMethod final : public Method {
 public:
  MethodInfo Info() const override {
    return {
        .name = "gptq",
        .description = "column by column, later columns make up for the errors of earlier ones; needs data",
        .source = "arXiv 2210.17323; docs/methods.md",
        .min_bits = 2,
        .max_bits = 8};
  }

  Stream Learns(const Recipe&) const override { return Stream::kOwn; }

  std::unique_ptr<RoundContext> Prepare(const Recipe& recipe, const WeightSpec&, const StepInputs& inputs,
                                        const Place& place, const Threads& threads,
                                        Notes& notes) const override {
    auto factor = std::make_unique<Factor>();
    factor->gptq = FactorOrNote(inputs.statistics, recipe.gptq, "rounded to nearest", place, threads, notes);
    return factor;
  }

  PackedTensor Make(size_t rows, size_t cols, const RoundJob& job) const override {
    const GptqFactor& factor = FactorOf(job);
    if (factor.state != GramState::kFactored) return MakePacked(rows, cols, job.spec);
    return MakePacked(rows, cols, job.spec, StoredOrder(factor, job.spec, job.recipe.gptq));
  }

  void Round(const RoundJob& job, PackedTensor& packed) const override {
    const Place place = Place(job.source).Tensor(job.name);
    const GptqFactor& factor = FactorOf(job);
    if (factor.state != GramState::kFactored) {
      RoundRows(job.weights, job.spec, job.first_row, place, job.threads, packed, factor.importance);
      return;
    }
    RoundGptq({job.weights, job.first_row, factor, job.spec, job.recipe.gptq, place}, packed);
  }

 private:
  static const GptqFactor& FactorOf(const RoundJob& job) {
    LOWBIT_ASSERT(job.context != nullptr);
    return static_cast<const Factor*>(job.context)->gptq;
  }
};

}  // namespace

const Method& Gptq() {
  static const GptqMethod method;
  return method;
}

}  // namespace lowbit
