// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/gptq_loops.h"

#include <cmath>
#include <cstring>

namespace lowbit {
namespace {

// A loop body is inlined into one function per target, so that it is compiled for each.
#define LOWBIT_BODY [[gnu::always_inline]] inline

LOWBIT_BODY void RoundBody(const GptqColumn& column) {
  const GptqColumn c = column;
  for (size_t r = 0; r < kLanes; ++r) {
    float code = std::rint(c.weights[r] / c.scales[r]) + c.zeros[r];
    code = code > c.first_code ? code : c.first_code;
    code = code < c.last_code ? code : c.last_code;
    c.codes[r] = static_cast<uint8_t>(static_cast<int32_t>(code));
    c.errors[r] = (c.weights[r] - c.scales[r] * (code - c.zeros[r])) / c.pivot;
  }
  for (size_t r = 0; r < kLanes; ++r) {
    const auto e = static_cast<double>(c.errors[r]);
    c.loss[r] += e * e;
  }
}

// Vectors of kWide lanes stay in registers, up to eight of them, while all errors are subtracted.
template <size_t kWide>
LOWBIT_BODY void SubtractBody(float* weights, size_t columns, const float* errors, size_t count,
                              const float* u, size_t stride) {
  typedef float Vector __attribute__((vector_size(kWide * sizeof(float))));
  constexpr size_t kVectors = kLanes / kWide < 8 ? kLanes / kWide : 8;
  for (size_t c = 0; c < columns; ++c) {
    for (size_t at = 0; at < kLanes; at += kVectors * kWide) {
      float* w = weights + c * kLanes + at;
      Vector sum[kVectors];
      for (size_t v = 0; v < kVectors; ++v) std::memcpy(&sum[v], w + v * kWide, sizeof(Vector));
      for (size_t k = 0; k < count; ++k) {
        const float* e = errors + k * kLanes + at;
        const float factor = u[k * stride + c];
        for (size_t v = 0; v < kVectors; ++v) {
          Vector error;
          std::memcpy(&error, e + v * kWide, sizeof(Vector));
          sum[v] -= error * factor;
        }
      }
      for (size_t v = 0; v < kVectors; ++v) std::memcpy(w + v * kWide, &sum[v], sizeof(Vector));
    }
  }
}

#define LOWBIT_LOOPS(name, wide, attribute)                                                       \
  namespace name {                                                                                \
  attribute void Round(const GptqColumn& column) {                                                \
    RoundBody(column);                                                                            \
  }                                                                                               \
  attribute void Subtract(float* w, size_t columns, const float* e, size_t count, const float* u, \
                          size_t stride) {                                                        \
    SubtractBody<wide>(w, columns, e, count, u, stride);                                          \
  }                                                                                               \
  constexpr GptqLoops kLoops = {#name, Round, Subtract};                                          \
  }

LOWBIT_LOOPS(baseline, 4, )
#if defined(__x86_64__) && defined(__GNUC__)
LOWBIT_LOOPS(avx2, 8, __attribute__((target("avx2"))))
LOWBIT_LOOPS(avx512, 16,
             __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512"))))
#endif

}  // namespace

const GptqLoops& BaselineLoopsOfGptq() {
  return baseline::kLoops;
}

const GptqLoops& LoopsOfGptq() {
#if defined(__x86_64__) && defined(__GNUC__)
  static const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx512) return avx512::kLoops;
  if (has_avx2) return avx2::kLoops;
#endif
  return baseline::kLoops;
}

}  // namespace lowbit
