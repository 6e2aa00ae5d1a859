// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/billm_loops.h"

#include <cstring>

namespace lowbit {
namespace {

// A loop body is inlined into one function per target, so that it is compiled for each.
#define LOWBIT_BODY [[gnu::always_inline]] inline

// Two vectors of kWide lanes at a time, so that sums do not wait for each other.
template <size_t kWide>
LOWBIT_BODY void AddResidualsBody(const double* values, size_t count, double* errors) {
  typedef double Vector __attribute__((vector_size(kWide * sizeof(double))));
  constexpr size_t kVectors = 2;
  if (count == 0) return;
  const auto n = static_cast<double>(count);
  const double* const end = values + count * kLanes;
  for (size_t at = 0; at < kLanes; at += kVectors * kWide) {
    Vector sum[kVectors] = {}, distance[kVectors] = {}, rest[kVectors] = {}, signs[kVectors] = {},
           second[kVectors] = {}, squares[kVectors] = {}, mean[kVectors], scale[kVectors], mean2[kVectors];
    for (const double* x = values + at; x < end; x += kLanes) {
      for (size_t v = 0; v < kVectors; ++v) {
        Vector value;
        std::memcpy(&value, x + v * kWide, sizeof(value));
        sum[v] += value;
      }
    }
    for (size_t v = 0; v < kVectors; ++v) mean[v] = sum[v] / n;
    for (const double* x = values + at; x < end; x += kLanes) {
      for (size_t v = 0; v < kVectors; ++v) {
        Vector r;
        std::memcpy(&r, x + v * kWide, sizeof(r));
        r -= mean[v];
        rest[v] += r;
        distance[v] += r < 0 ? -r : r;
        signs[v] += r < 0 ? Vector{} - 1.0 : Vector{} + 1.0;
      }
    }
    for (size_t v = 0; v < kVectors; ++v) {
      scale[v] = distance[v] / n;
      mean2[v] = (rest[v] - scale[v] * signs[v]) / n;
    }
    for (const double* x = values + at; x < end; x += kLanes) {
      for (size_t v = 0; v < kVectors; ++v) {
        Vector r;
        std::memcpy(&r, x + v * kWide, sizeof(r));
        r -= mean[v];
        const Vector left = (r < 0 ? r + scale[v] : r - scale[v]) - mean2[v];
        second[v] += left < 0 ? -left : left;
        squares[v] += left * left;
      }
    }
    for (size_t v = 0; v < kVectors; ++v) {
      Vector error;
      std::memcpy(&error, errors + at + v * kWide, sizeof(error));
      error += squares[v] - second[v] * second[v] / n;
      std::memcpy(errors + at + v * kWide, &error, sizeof(error));
    }
  }
}

#define LOWBIT_LOOPS(name, wide, attribute)                                         \
  namespace name {                                                                  \
  attribute void AddResiduals(const double* values, size_t count, double* errors) { \
    AddResidualsBody<wide>(values, count, errors);                                  \
  }                                                                                 \
  constexpr BillmLoops kLoops = {#name, AddResiduals};                              \
  }

LOWBIT_LOOPS(baseline, 2, )
#if defined(__x86_64__) && defined(__GNUC__)
LOWBIT_LOOPS(avx2, 4, __attribute__((target("avx2"))))
LOWBIT_LOOPS(avx512, 8, __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512"))))
#endif

}  // namespace

const BillmLoops& BaselineLoopsOfBillm() {
  return baseline::kLoops;
}

// The target that GPTQ's loops have picked.
const BillmLoops& LoopsOfBillm() {
#if defined(__x86_64__) && defined(__GNUC__)
  if (&LoopsOfGptq() == &BaselineLoopsOfGptq()) return baseline::kLoops;
  static const bool has_avx512 = std::strcmp(LoopsOfGptq().target, "avx512") == 0;
  return has_avx512 ? avx512::kLoops : avx2::kLoops;
#else
  return baseline::kLoops;
#endif
}

}  // namespace lowbit
