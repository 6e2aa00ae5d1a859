// SPDX-License-Identifier: Apache-2.0
// The inner loop of BiLLM's search for salient columns, over a tile of rows that are the lanes of a vector. Built
// like gptq_loops.h: once for each instruction set, all with the same bits.
#pragma once

#include <cstddef>

#include "lowbit/quant/gptq_loops.h"

namespace lowbit {

struct BillmLoops {
  const char* target;  // "avx512", "avx2", "baseline"

  // errors[r] += Σ (v - b(v))² over the `count` values v of lane r, `values` [count, kLanes], where b is their
  // binarization of order 2: mean and mean distance from it, then the same of what that leaves. Nothing for no values.
  void (*add_residuals)(const double* values, size_t count, double* errors);
};

const BillmLoops& LoopsOfBillm();          // the fastest that this processor runs
const BillmLoops& BaselineLoopsOfBillm();  // what every processor runs; for tests

}  // namespace lowbit
