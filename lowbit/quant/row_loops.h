// SPDX-License-Identifier: Apache-2.0
// The inner loops of the quantizers over the weights of one group. Plain loops that the compiler vectorises,
// built once for any x86-64 and once for AVX2 and picked at run time; both give the same bits. This file is
// compiled without contraction to fused multiply-adds (CMakeLists.txt), which would change them.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lowbit {

// code = clamp(rint(w / scale) + zero, first, last); value = scale * (code - zero).
struct CodeMap {
  float scale, zero, first, last;
};

struct WeightRange {
  float lo, hi;
};

// Of fixed codes: Σ h w (code - zero) and Σ h (code - zero)². Their quotient is the scale with the least
// Σ h (w - value)².
struct ScaleFit {
  double weights, levels;
};

struct RowLoops {
  const char* target;  // "avx2", "baseline"

  // Smallest and largest of n >= 1 finite weights.
  WeightRange (*range)(const float* w, size_t n);

  void (*encode)(const float* w, size_t n, const CodeMap& map, uint8_t* codes);

  // Sum of |value - w|^2.4 in double. Stops early, with a sum that is at least `enough`, once it gets there.
  double (*power_error)(const float* w, size_t n, const CodeMap& map, double enough);

  // Sum of h ((value - w) / scale)², terms f32. Stops early as power_error does.
  double (*weighted_error)(const float* w, const float* h, size_t n, const CodeMap& map, double enough);

  ScaleFit (*fit_scale)(const float* w, const float* h, size_t n, const CodeMap& map);

  // values[i] = scale * (codes[i] - zero).
  void (*decode)(const uint8_t* codes, size_t n, float scale, float zero, float* values);

  // Sum of a b, in double.
  double (*dot)(const float* a, const float* b, size_t n);

  // Sums of w, w², |w - centre| and (w - v)², in double.
  double (*sum)(const float* w, size_t n);
  double (*squares)(const float* w, size_t n);
  double (*deviation)(const float* w, size_t n, float centre);
  double (*squared_distance)(const float* w, const float* v, size_t n);

  // codes[i] = 1 where w[i] >= centre, else 0.
  void (*encode_signs)(const float* w, size_t n, float centre, uint8_t* codes);
};

const RowLoops& Loops();          // the fastest that this processor runs
const RowLoops& BaselineLoops();  // what every processor runs; for tests

}  // namespace lowbit
