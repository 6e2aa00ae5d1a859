// SPDX-License-Identifier: Apache-2.0
// The same three targets as vector_ops.cc.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | LOWBIT_HWY_NEWER_TARGETS)
#define LOWBIT_HWY_NEWER_TARGETS ((1LL << 7) - 1)

#include "lowbit/kernels/cpu/input_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lowbit/kernels/cpu/input_ops.cc"
// This file is included once per target, in this order.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

#include <algorithm>
#include <cmath>
#include <limits>

#include "lowbit/tensor/input_form.h"

HWY_BEFORE_NAMESPACE();
namespace lowbit::vector::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// max(least, max|x|); not finite when a value is not.
HWY_INLINE float LargestMagnitude(const float* x, size_t n, float least) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  V largest = hn::Set(d, least), odd = hn::Zero(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const V v = hn::Abs(hn::LoadU(d, x + i));
    largest = hn::Max(largest, v);
    odd = hn::Or(odd, hn::VecFromMask(d, hn::IsNaN(v)));
  }
  bool has_nan = !hn::AllFalse(d, hn::IsNaN(odd));  // all bits set is a NaN
  float most = hn::GetLane(hn::MaxOfLanes(d, largest));
  for (; i < n; ++i) {
    has_nan |= std::isnan(x[i]);
    most = std::max(most, std::fabs(x[i]));
  }
  return has_nan ? std::numeric_limits<float>::quiet_NaN() : most;
}

float RoundInputsRow(const float* x, size_t n, int bits, float fixed_scale, int8_t* integers) {
  constexpr float kLeast = 1e-5f;
  const D d;
  const hn::Rebind<int8_t, D> d8;
  const auto bound = static_cast<float>(LargestInput(bits));
  const float most = LargestMagnitude(x, n, kLeast);
  if (!std::isfinite(most)) {
    std::fill(integers, integers + n, int8_t{0});
    return std::numeric_limits<float>::quiet_NaN();
  }
  const float scale = fixed_scale > 0 ? fixed_scale : most / bound;
  const V by = hn::Set(d, scale), high = hn::Set(d, bound), low = hn::Set(d, -bound);
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    const V q = hn::Min(hn::Max(hn::Div(hn::LoadU(d, x + i), by), low), high);
    hn::StoreU(hn::DemoteTo(d8, hn::NearestInt(q)), d8, integers + i);
  }
  for (; i < n; ++i) {
    integers[i] = static_cast<int8_t>(std::nearbyint(std::clamp(x[i] / scale, -bound, bound)));
  }
  return scale;
}

void RotateBlocks(float* x, size_t n, size_t block) {
  const D d;
  const size_t lanes = hn::Lanes(d);
  const auto factor = static_cast<float>(1 / std::sqrt(static_cast<double>(block)));
  for (size_t half = 1; half < block; half *= 2) {
    for (size_t i = 0; i < n; i += 2 * half) {
      float *first = x + i, *second = first + half;
      if (half < lanes) {
        for (size_t j = 0; j < half; ++j) {
          const float a = first[j], b = second[j];
          first[j] = a + b;
          second[j] = a - b;
        }
        continue;
      }
      for (size_t j = 0; j < half; j += lanes) {
        const V a = hn::LoadU(d, first + j), b = hn::LoadU(d, second + j);
        hn::StoreU(hn::Add(a, b), d, first + j);
        hn::StoreU(hn::Sub(a, b), d, second + j);
      }
    }
  }
  const V by = hn::Set(d, factor);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) hn::StoreU(hn::Mul(hn::LoadU(d, x + i), by), d, x + i);
  for (; i < n; ++i) x[i] *= factor;
}

void ScaleSums(const int32_t* sums, const SumScaling& how, float* y, size_t n) {
  const D d;
  const hn::RebindToSigned<D> d32;
  const auto by = hn::Set(d32, how.factor);
  const size_t lanes = hn::Lanes(d);
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    auto sum = hn::LoadU(d32, sums + i);
    if (how.shift != nullptr) sum = hn::Add(sum, hn::LoadU(d32, how.shift + i));
    if (how.offsets != nullptr) sum = hn::Add(sum, hn::Mul(by, hn::LoadU(d32, how.offsets + i)));
    const V value = hn::ConvertTo(d, sum), scale = hn::LoadU(d, how.scales + i);
    const V result = how.adds ? hn::MulAdd(value, scale, hn::LoadU(d, y + i)) : hn::Mul(value, scale);
    hn::StoreU(result, d, y + i);
  }
  for (; i < n; ++i) {
    int32_t sum = sums[i];
    if (how.shift != nullptr) sum += how.shift[i];
    if (how.offsets != nullptr) sum += how.factor * how.offsets[i];
    const auto value = static_cast<float>(sum);
    y[i] = how.adds ? std::fma(value, how.scales[i], y[i]) : value * how.scales[i];
  }
}

}  // namespace lowbit::vector::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lowbit::vector {

HWY_EXPORT(RoundInputsRow);
HWY_EXPORT(RotateBlocks);
HWY_EXPORT(ScaleSums);

float RoundInputsRow(const float* x, size_t n, int bits, float fixed_scale, int8_t* integers) {
  return HWY_DYNAMIC_DISPATCH(RoundInputsRow)(x, n, bits, fixed_scale, integers);
}
void RotateBlocks(float* x, size_t n, size_t block) {
  HWY_DYNAMIC_DISPATCH(RotateBlocks)(x, n, block);
}
void ScaleSums(const int32_t* sums, const SumScaling& how, float* y, size_t n) {
  HWY_DYNAMIC_DISPATCH(ScaleSums)(sums, how, y, n);
}

}  // namespace lowbit::vector
#endif
