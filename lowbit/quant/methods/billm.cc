// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/billm.h"

#include "lowbit/base/log.h"
#include "lowbit/quant/method.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

struct Factor : RoundContext {
  GptqFactor gptq;
  uint64_t tokens = 0;
};

// About one bit a weight: signs, twice for the columns that count most (arXiv 2402.04291).
class BillmMethod final : public Method {
 public:
  MethodInfo Info() const override {
    return {
        .name = "billm",
        .description = "signs, two for salient columns; blocks of columns make up for each other; needs data",
        .source = "arXiv 2402.04291; docs/methods.md",
        .min_bits = 1,
        .max_bits = 1,
        .has_planes = true,
        .whole_matrix = true};
  }

  Stream Learns(const Recipe&) const override { return Stream::kOwnLayers; }

  std::unique_ptr<RoundContext> Prepare(const Recipe& recipe, const WeightSpec&, const StepInputs& inputs,
                                        const Place& place, const Threads& threads,
                                        Notes& notes) const override {
    auto factor = std::make_unique<Factor>();
    factor->tokens = inputs.statistics.tokens;
    factor->gptq = FactorOrNote(inputs.statistics, {.damp = recipe.billm.damp}, "binarized without it", place,
                                threads, notes);
    return factor;
  }

  void Round(const RoundJob& job, PackedTensor& packed) const override {
    LOWBIT_ASSERT(job.context != nullptr && job.weights.rows == packed.rows);
    const auto& factor = *static_cast<const Factor*>(job.context);
    const Place place = Place(job.source).Tensor(job.name);
    const BillmLoss loss =
        RoundBillm({job.weights, factor.gptq, job.spec, job.recipe.billm, place, job.threads}, packed);
    if (factor.tokens == 0) return;
    LogDetail(fmt::format("{} {}: {:.4g} is lost of the output, square per token; {:.3f} bits of code",
                          job.recipe.Text(), job.name, loss.output / static_cast<double>(factor.tokens),
                          static_cast<double>(packed.CodeBits()) /
                              (static_cast<double>(packed.rows) * static_cast<double>(packed.cols))));
  }
};

}  // namespace

const Method& Billm() {
  static const BillmMethod method;
  return method;
}

}  // namespace lowbit
