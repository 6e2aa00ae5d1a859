// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/method.h"
#include "lowbit/quant/rounding.h"

namespace lowbit {
namespace {

// Round to nearest: every group by itself, looking at nothing but its weights.
class RtnMethod final : public Method {
 public:
  MethodInfo Info() const override {
    return {.name = "rtn",
            .description = "round to nearest, group by group; needs no data (1 bit: mean and two levels)",
            .source = "the baseline of every quantization paper; docs/methods.md"};
  }

  void Round(const RoundJob& job, PackedTensor& packed) const override {
    const Place place = Place(job.source).Tensor(job.name);
    RoundRows(job.weights, job.spec, job.first_row, place, job.threads, packed);
  }
};

}  // namespace

const Method& Rtn() {
  static const RtnMethod method;
  return method;
}

}  // namespace lowbit
