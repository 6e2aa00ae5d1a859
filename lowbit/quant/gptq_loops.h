// SPDX-License-Identifier: Apache-2.0
// The inner loops of GPTQ over a tile of rows whose weights are stored column by column: the rows of a tile
// are the lanes of a vector. Built once for any x86-64 and once each for AVX2 and AVX-512, picked at run time;
// all give the same bits, without fused multiply-adds (CMakeLists.txt).
#pragma once

#include <cstddef>
#include <cstdint>

namespace lowbit {

inline constexpr size_t kLanes = 64;  // rows of a tile

// One column of a tile; arrays of kLanes.
struct GptqColumn {
  const float* weights;
  const float *scales, *zeros;  // of the column's group, row by row
  float first_code, last_code;
  float pivot;  // U_cc
  uint8_t* codes;
  float* errors;  // out: (w - ŵ) / U_cc
  double* loss;   // += errors²
};

struct GptqLoops {
  const char* target;  // "avx512", "avx2", "baseline"

  // code = clamp(rint(w / s) + z); a NaN weight gets the first code and a NaN error.
  void (*round)(const GptqColumn& column);

  // weights[c] -= errors[0] u[0][c] + errors[1] u[1][c] + …, one after the other, for c < columns. Weights and
  // errors are [.., kLanes]; row k of u begins at u + k * stride.
  void (*subtract)(float* weights, size_t columns, const float* errors, size_t count, const float* u,
                   size_t stride);
};

const GptqLoops& LoopsOfGptq();          // the fastest that this processor runs
const GptqLoops& BaselineLoopsOfGptq();  // what every processor runs; for tests

}  // namespace lowbit
