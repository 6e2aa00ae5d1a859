// SPDX-License-Identifier: Apache-2.0
// BiLLM as a pure function: the weights of a matrix and what its inputs say of them give planes (tensor/packed.h).
// Formulas and where they come from: docs/methods.md.
#pragma once

#include "lowbit/base/threads.h"
#include "lowbit/quant/billm_split.h"
#include "lowbit/quant/gptq.h"
#include "lowbit/quant/spec.h"
#include "lowbit/tensor/packed.h"

namespace lowbit {

// One linear.
struct BillmJob {
  MatView<const float> weights;  // [rows, cols], all of it, finite
  // In the natural order. Without one (GramState) all columns count alike and nothing is passed on.
  const GptqFactor& factor;
  const WeightSpec& spec;  // planes
  const BillmOptions& options;
  const Place& place;  // of the tensor, for errors
  const Threads& threads;
  size_t most_salient = kBillmMostSalient;
};

struct BillmLoss {
  double passed_on =
      0;  // Σ e² / 2 over the errors e as they are passed on: the number that the original prints
  double output =
      0;  // tr(E (H + damping) Eᵀ), E = W - Ŵ after dead columns became 0; without a factor tr(E Eᵀ)
};

// Fills `packed`, which MakePacked made from the same spec. Does not depend on the number of threads. Throws
// Error{kNumeric} at job.place when a scalar does not fit spec.scale_type or the errors grow beyond f32.
BillmLoss RoundBillm(const BillmJob& job, PackedTensor& packed);

}  // namespace lowbit
