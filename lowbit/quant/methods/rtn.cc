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

  std::vector<PackedTensor> Round(const StageJob& job) const override {
    std::vector<PackedTensor> packed;
    for (size_t i = 0; i < job.weights.size(); ++i) {
      const MatView<const float>& weights = job.weights[i];
      packed.push_back(MakePacked(weights.rows, weights.cols, job.spec));
      const Place place = Place(job.source).Tensor(job.names[i]);
      RoundRows(weights, job.spec, 0, place, job.threads, packed.back());
    }
    return packed;
  }
};

}  // namespace

const Method& Rtn() {
  static const RtnMethod method;
  return method;
}

}  // namespace lowbit
