// SPDX-License-Identifier: Apache-2.0
// Three targets are enough: the baseline, AVX2 and AVX-512. More would cost build time and give nothing,
// since none of these operations uses later instructions.
#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | LOWBIT_HWY_NEWER_TARGETS)
#define LOWBIT_HWY_NEWER_TARGETS ((1LL << 7) - 1)  // better targets have lower bits: all beyond AVX3_DL

#include "lowbit/kernels/cpu/vector_ops.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lowbit/kernels/cpu/vector_ops.cc"
// This file is included once per target, in this order.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

#include <cmath>

#include "lowbit/tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace lowbit::vector::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Rows end where they end: the last vector of a row is loaded and stored in part.
HWY_INLINE V LoadTail(D d, const float* x, size_t n) {
  return hn::MaskedLoad(hn::FirstN(d, n), d, x);
}
HWY_INLINE void StoreTail(D d, V v, float* x, size_t n) {
  hn::BlendedStore(v, hn::FirstN(d, n), d, x);
}

template <class F>
HWY_INLINE void ForEachVector(size_t n, F&& body) {
  const size_t lanes = hn::Lanes(D());
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) body(i, lanes);
  if (i < n) body(i, n - i);
}
HWY_INLINE V Load(D d, const float* x, size_t count) {
  return count == hn::Lanes(d) ? hn::LoadU(d, x) : LoadTail(d, x, count);
}
HWY_INLINE void Store(D d, V v, float* x, size_t count) {
  if (count == hn::Lanes(d)) {
    hn::StoreU(v, d, x);
  } else {
    StoreTail(d, v, x, count);
  }
}

void RmsNormRow(const float* x, const float* w, float eps, float* y, size_t n) {
  const D d;
  V square = hn::Zero(d);
  ForEachVector(n, [&](size_t i, size_t count) HWY_ATTR {
    const V v = Load(d, x + i, count);
    square = hn::MulAdd(v, v, square);
  });
  const float mean = hn::GetLane(hn::SumOfLanes(d, square)) / static_cast<float>(n);
  const V inverse = hn::Set(d, 1.0f / std::sqrt(mean + eps));
  ForEachVector(n, [&](size_t i, size_t count) HWY_ATTR {
    const V normalised = hn::Mul(Load(d, x + i, count), inverse);
    Store(d, hn::Mul(Load(d, w + i, count), normalised), y + i, count);
  });
}

void RopeHead(float* head, const float* cos, const float* sin, size_t half) {
  const D d;
  ForEachVector(half, [&](size_t i, size_t count) HWY_ATTR {
    const V a = Load(d, head + i, count), b = Load(d, head + half + i, count);
    const V c = Load(d, cos + i, count), s = Load(d, sin + i, count);
    Store(d, hn::NegMulAdd(b, s, hn::Mul(a, c)), head + i, count);
    Store(d, hn::MulAdd(a, s, hn::Mul(b, c)), head + half + i, count);
  });
}

void SiluMultiply(const float* gate, const float* up, float* y, size_t n) {
  const D d;
  const V one = hn::Set(d, 1.0f);
  ForEachVector(n, [&](size_t i, size_t count) HWY_ATTR {
    const V g = Load(d, gate + i, count);
    const V silu = hn::Div(g, hn::Add(one, hn::Exp(d, hn::Neg(g))));
    Store(d, hn::Mul(silu, Load(d, up + i, count)), y + i, count);
  });
}

void AddRow(float* x, const float* y, size_t n) {
  const D d;
  ForEachVector(n, [&](size_t i, size_t count) HWY_ATTR {
    Store(d, hn::Add(Load(d, x + i, count), Load(d, y + i, count)), x + i, count);
  });
}

void AddWeightedRow(float* x, float weight, const float* y, size_t n) {
  const D d;
  const V w = hn::Set(d, weight);
  ForEachVector(n, [&](size_t i, size_t count) HWY_ATTR {
    Store(d, hn::MulAdd(w, Load(d, y + i, count), Load(d, x + i, count)), x + i, count);
  });
}

// A NaN must come out as NaN: comparisons alone would drop it.
HWY_INLINE float LargestOf(const float* x, size_t n) {
  const D d;
  const V lowest = hn::Set(d, -HUGE_VALF);
  V largest = lowest, nan = hn::Zero(d);
  ForEachVector(n, [&](size_t i, size_t count) HWY_ATTR {
    const V v = hn::IfThenElse(hn::FirstN(d, count), Load(d, x + i, count), lowest);
    largest = hn::Max(largest, v);
    nan = hn::Or(nan, hn::VecFromMask(d, hn::IsNaN(v)));
  });
  if (!hn::AllFalse(d, hn::IsNaN(nan))) return std::nanf("");  // all bits set is a NaN
  return hn::GetLane(hn::MaxOfLanes(d, largest));
}

float SoftmaxNumerators(float* x, size_t n) {
  const D d;
  const V max = hn::Set(d, LargestOf(x, n));
  V sum = hn::Zero(d);
  ForEachVector(n, [&](size_t i, size_t count) HWY_ATTR {
    const V e = hn::Exp(d, hn::Sub(Load(d, x + i, count), max));
    sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, count), e));
    Store(d, e, x + i, count);
  });
  return hn::GetLane(hn::SumOfLanes(d, sum));
}

void Scale(float* x, float factor, size_t n) {
  const D d;
  const V f = hn::Set(d, factor);
  ForEachVector(
      n, [&](size_t i, size_t count) HWY_ATTR { Store(d, hn::Mul(Load(d, x + i, count), f), x + i, count); });
}

// The lowest index at which x is `value`, 0 when none is.
HWY_INLINE uint32_t FirstEqual(const float* x, size_t n, float value) {
  const D d;
  const V wanted = hn::Set(d, value);
  const size_t lanes = hn::Lanes(d);
  for (size_t i = 0; i < n; i += lanes) {
    const size_t count = n - i < lanes ? n - i : lanes;
    const intptr_t at =
        hn::FindFirstTrue(d, hn::And(hn::FirstN(d, count), hn::Eq(Load(d, x + i, count), wanted)));
    if (at >= 0) return static_cast<uint32_t>(i + static_cast<size_t>(at));
  }
  return 0;
}

RowSummary Summarize(const float* x, size_t n) {
  const D d;
  const float largest = LargestOf(x, n);
  const V max = hn::Set(d, largest);
  V sum = hn::Zero(d);
  ForEachVector(n, [&](size_t i, size_t count) HWY_ATTR {
    const V e = hn::Exp(d, hn::Sub(Load(d, x + i, count), max));
    sum = hn::Add(sum, hn::IfThenElseZero(hn::FirstN(d, count), e));
  });
  return {largest, FirstEqual(x, n, largest), hn::GetLane(hn::SumOfLanes(d, sum))};
}

PairSummary SummarizePair(const float* p, const float* q, size_t n) {
  const D d;
  const float largest_p = LargestOf(p, n), largest_q = LargestOf(q, n);
  const V max_p = hn::Set(d, largest_p), max_q = hn::Set(d, largest_q);
  V sum_p = hn::Zero(d), sum_q = hn::Zero(d), growth = hn::Zero(d), cross = hn::Zero(d);
  ForEachVector(n, [&](size_t i, size_t count) HWY_ATTR {
    const V a = hn::Sub(Load(d, p + i, count), max_p), b = hn::Sub(Load(d, q + i, count), max_q);
    const auto inside = hn::FirstN(d, count);
    const V exp_a = hn::IfThenElseZero(inside, hn::Exp(d, a));
    const V exp_b = hn::IfThenElseZero(inside, hn::Exp(d, b));
    sum_p = hn::Add(sum_p, exp_a);
    sum_q = hn::Add(sum_q, exp_b);
    growth = hn::Add(growth, hn::Sub(exp_b, exp_a));
    cross = hn::Add(cross, hn::IfThenElseZero(inside, hn::Mul(exp_a, hn::Sub(a, b))));
  });
  const auto total = [&](V v) HWY_ATTR { return hn::GetLane(hn::SumOfLanes(d, v)); };
  return {{largest_p, FirstEqual(p, n, largest_p), total(sum_p)},
          {largest_q, FirstEqual(q, n, largest_q), total(sum_q)},
          total(growth),
          total(cross)};
}

void ToBF16Row(const float* x, uint16_t* y, size_t n) {
  for (size_t i = 0; i < n; ++i) y[i] = ToBF16(x[i]).bits;  // the compiler vectorises this one
}

const char* TargetName() {
  return hwy::TargetName(HWY_TARGET);
}

}  // namespace lowbit::vector::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lowbit::vector {

HWY_EXPORT(RmsNormRow);
HWY_EXPORT(RopeHead);
HWY_EXPORT(SiluMultiply);
HWY_EXPORT(AddRow);
HWY_EXPORT(AddWeightedRow);
HWY_EXPORT(SoftmaxNumerators);
HWY_EXPORT(Scale);
HWY_EXPORT(Summarize);
HWY_EXPORT(SummarizePair);
HWY_EXPORT(ToBF16Row);
HWY_EXPORT(TargetName);

std::string IsaName() {
  return HWY_DYNAMIC_DISPATCH(TargetName)();
}

std::vector<std::string> IsaNamesForTest() {
  std::vector<std::string> names;
  for (int64_t bits = HWY_TARGETS & hwy::SupportedTargets(); bits != 0; bits &= bits - 1) {
    names.emplace_back(hwy::TargetName(bits & -bits));  // better targets have lower bits
  }
  return names;
}

void ForceIsaForTest(const std::string& name) {
  hwy::SetSupportedTargetsForTest(0);
  for (int64_t bits = HWY_TARGETS & hwy::SupportedTargets(); bits != 0 && !name.empty(); bits &= bits - 1) {
    if (hwy::TargetName(bits & -bits) == name) hwy::SetSupportedTargetsForTest(bits & -bits);
  }
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
}
void RmsNormRow(const float* x, const float* w, float eps, float* y, size_t n) {
  HWY_DYNAMIC_DISPATCH(RmsNormRow)(x, w, eps, y, n);
}
void RopeHead(float* head, const float* cos, const float* sin, size_t half) {
  HWY_DYNAMIC_DISPATCH(RopeHead)(head, cos, sin, half);
}
void SiluMultiply(const float* gate, const float* up, float* y, size_t n) {
  HWY_DYNAMIC_DISPATCH(SiluMultiply)(gate, up, y, n);
}
void AddRow(float* x, const float* y, size_t n) {
  HWY_DYNAMIC_DISPATCH(AddRow)(x, y, n);
}
void AddWeightedRow(float* x, float weight, const float* y, size_t n) {
  HWY_DYNAMIC_DISPATCH(AddWeightedRow)(x, weight, y, n);
}
float SoftmaxNumerators(float* x, size_t n) {
  return HWY_DYNAMIC_DISPATCH(SoftmaxNumerators)(x, n);
}
void Scale(float* x, float factor, size_t n) {
  HWY_DYNAMIC_DISPATCH(Scale)(x, factor, n);
}
RowSummary Summarize(const float* x, size_t n) {
  return HWY_DYNAMIC_DISPATCH(Summarize)(x, n);
}
PairSummary SummarizePair(const float* p, const float* q, size_t n) {
  return HWY_DYNAMIC_DISPATCH(SummarizePair)(p, q, n);
}
void ToBF16Row(const float* x, uint16_t* y, size_t n) {
  HWY_DYNAMIC_DISPATCH(ToBF16Row)(x, y, n);
}

}  // namespace lowbit::vector
#endif
