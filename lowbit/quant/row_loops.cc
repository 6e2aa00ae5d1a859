// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/row_loops.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace lowbit {
namespace {

// A loop body is inlined into one function per target, so that it is compiled for each.
#define LOWBIT_BODY [[gnu::always_inline]] inline

// Sums run in kLanes interleaved lanes that are added up in a fixed order: the compiler may not reorder a
// sum of its own accord, and the result must not depend on the width of a vector.
constexpr size_t kLanes = 8;

LOWBIT_BODY double AddLanes(const double* lane) {
  return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

template <class Term>
LOWBIT_BODY double LaneSum(size_t n, const Term& term) {
  double lane[kLanes] = {};
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) lane[j] += term(i + j);
  }
  for (size_t j = 0; i + j < n; ++j) lane[j] += term(i + j);
  return AddLanes(lane);
}

LOWBIT_BODY float Smaller(float a, float b) {
  return a < b ? a : b;
}
LOWBIT_BODY float Larger(float a, float b) {
  return a > b ? a : b;
}

// Brings 2 * kHalf lanes down to kHalf.
template <size_t kHalf>
LOWBIT_BODY void Fold(float* los, float* his) {
  for (size_t j = 0; j < kHalf; ++j) {
    los[j] = Smaller(los[j], los[j + kHalf]);
    his[j] = Larger(his[j], his[j + kHalf]);
  }
}

LOWBIT_BODY WeightRange RangeBody(const float* w, size_t n) {
  constexpr size_t kWide = 32;  // 4 vectors of 8: minimum and maximum have a latency of 4 cycles
  float los[kWide], his[kWide];
  for (size_t j = 0; j < kWide; ++j) los[j] = his[j] = w[0];
  size_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    for (size_t j = 0; j < kWide; ++j) {
      los[j] = Smaller(w[i + j], los[j]);
      his[j] = Larger(w[i + j], his[j]);
    }
  }
  for (size_t j = 0; i + j < n; ++j) {
    los[j] = Smaller(w[i + j], los[j]);
    his[j] = Larger(w[i + j], his[j]);
  }
  Fold<16>(los, his);  // a tree: one lane after the other would take longer than all the rest
  Fold<8>(los, his);
  Fold<4>(los, his);
  Fold<2>(los, his);
  Fold<1>(los, his);
  return {los[0], his[0]};
}

LOWBIT_BODY float Code(float w, const CodeMap& map) {
  float code = std::rint(w / map.scale) + map.zero;
  code = code < map.first ? map.first : code;
  return code > map.last ? map.last : code;
}

LOWBIT_BODY void EncodeBody(const float* w, size_t n, CodeMap map, uint8_t* codes) {
  for (size_t i = 0; i < n; ++i) codes[i] = static_cast<uint8_t>(static_cast<int32_t>(Code(w[i], map)));
}

// |d|^2.4 from a = d². With r = a^(-1/5) it is (a r²)²; r comes from Newton's method, which needs neither a
// division nor a library function: those differ between systems in the last bit. The first guess is off by
// less than 4 %, four steps square that away.
LOWBIT_BODY double Power(double a) {
  // The upper half of a double's bits is nearly a linear function of its logarithm.
  constexpr int32_t kMagic = 1287168000;
  const auto upper = static_cast<int32_t>(std::bit_cast<uint64_t>(a) >> 32);
  double r = std::bit_cast<double>(static_cast<uint64_t>(static_cast<uint32_t>(kMagic - upper / 5)) << 32);
  for (int step = 0; step < 4; ++step) {
    const double r2 = r * r;
    r = r * (1.2 - 0.2 * a * r2 * r2 * r);
  }
  const double p = a * r * r;
  return p * p;
}

LOWBIT_BODY double PowerErrorBody(const float* w, size_t n, CodeMap map, double enough) {
  constexpr size_t kBlock = 32;  // between looks at the sum so far
  double sum = 0;
  for (size_t begin = 0; begin < n && sum < enough; begin += kBlock) {
    const float* block = w + begin;
    sum += LaneSum(std::min(kBlock, n - begin), [&](size_t i) {
      const float value = map.scale * (Code(block[i], map) - map.zero);
      const double d = static_cast<double>(value) - static_cast<double>(block[i]);
      return Power(d * d);
    });
  }
  return sum;
}

// In steps of the scale: no square overflows that a sensible range leaves. Rounded after clamping, between two
// integers as before: then the sum with 1.5 · 2²³ rounds to even, which no instruction set lacks.
LOWBIT_BODY double WeightedErrorBody(const float* w, const float* h, size_t n, CodeMap map, double enough) {
  constexpr size_t kBlock = 64;  // between looks at the sum so far
  constexpr size_t kWide = 16;   // lanes: two vectors of 8
  constexpr float kRound = 0x1.8p23f;
  const float low = map.first - map.zero, high = map.last - map.zero;
  double sum = 0;
  for (size_t begin = 0; begin < n && sum < enough; begin += kBlock) {
    const size_t end = std::min(n, begin + kBlock);
    float lane[kWide] = {};
    const auto term = [&](size_t i) {
      const float steps = w[i] / map.scale;
      const float q = (Smaller(Larger(steps, low), high) + kRound) - kRound;
      const float d = q - steps;
      return h[i] * (d * d);
    };
    size_t i = begin;
    for (; i + kWide <= end; i += kWide) {
      for (size_t j = 0; j < kWide; ++j) lane[j] += term(i + j);
    }
    for (size_t j = 0; i + j < end; ++j) lane[j] += term(i + j);
    double wide[kLanes];
    for (size_t j = 0; j < kLanes; ++j)
      wide[j] = static_cast<double>(lane[j]) + static_cast<double>(lane[j + kLanes]);
    sum += AddLanes(wide);
  }
  return sum;
}

LOWBIT_BODY ScaleFit FitScaleBody(const float* w, const float* h, size_t n, CodeMap map) {
  double weights[kLanes] = {}, levels[kLanes] = {};
  const auto add = [&](size_t i, size_t j) {
    const auto level = static_cast<double>(Code(w[i], map) - map.zero);
    const double product = static_cast<double>(h[i]) * level;
    weights[j] += product * static_cast<double>(w[i]);
    levels[j] += product * level;
  };
  size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (size_t j = 0; j < kLanes; ++j) add(i + j, j);
  }
  for (size_t j = 0; i + j < n; ++j) add(i + j, j);
  return {AddLanes(weights), AddLanes(levels)};
}

LOWBIT_BODY void DecodeBody(const uint8_t* codes, size_t n, float scale, float zero, float* values) {
  for (size_t i = 0; i < n; ++i) values[i] = scale * (static_cast<float>(codes[i]) - zero);
}

LOWBIT_BODY double DotBody(const float* a, const float* b, size_t n) {
  return LaneSum(n, [&](size_t i) { return static_cast<double>(a[i]) * static_cast<double>(b[i]); });
}

LOWBIT_BODY double SumBody(const float* w, size_t n) {
  return LaneSum(n, [&](size_t i) { return static_cast<double>(w[i]); });
}

LOWBIT_BODY double SquaresBody(const float* w, size_t n) {
  return LaneSum(n, [&](size_t i) { return static_cast<double>(w[i]) * static_cast<double>(w[i]); });
}

LOWBIT_BODY double SquaredDistanceBody(const float* w, const float* v, size_t n) {
  return LaneSum(n, [&](size_t i) {
    const double d = static_cast<double>(w[i]) - static_cast<double>(v[i]);
    return d * d;
  });
}

LOWBIT_BODY double DeviationBody(const float* w, size_t n, float centre) {
  const double c = centre;
  return LaneSum(n, [&](size_t i) { return std::abs(static_cast<double>(w[i]) - c); });
}

LOWBIT_BODY void EncodeSignsBody(const float* w, size_t n, float centre, uint8_t* codes) {
  for (size_t i = 0; i < n; ++i) codes[i] = w[i] >= centre ? 1 : 0;
}

#define LOWBIT_LOOPS(name, attribute)                                                                  \
  namespace name {                                                                                     \
  attribute WeightRange Range(const float* w, size_t n) {                                              \
    return RangeBody(w, n);                                                                            \
  }                                                                                                    \
  attribute void Encode(const float* w, size_t n, const CodeMap& m, uint8_t* c) {                      \
    EncodeBody(w, n, m, c);                                                                            \
  }                                                                                                    \
  attribute double PowerError(const float* w, size_t n, const CodeMap& m, double enough) {             \
    return PowerErrorBody(w, n, m, enough);                                                            \
  }                                                                                                    \
  attribute double WeightedError(const float* w, const float* h, size_t n, const CodeMap& m,           \
                                 double enough) {                                                      \
    return WeightedErrorBody(w, h, n, m, enough);                                                      \
  }                                                                                                    \
  attribute ScaleFit FitScale(const float* w, const float* h, size_t n, const CodeMap& m) {            \
    return FitScaleBody(w, h, n, m);                                                                   \
  }                                                                                                    \
  attribute void Decode(const uint8_t* c, size_t n, float scale, float zero, float* values) {          \
    DecodeBody(c, n, scale, zero, values);                                                             \
  }                                                                                                    \
  attribute double Dot(const float* a, const float* b, size_t n) {                                     \
    return DotBody(a, b, n);                                                                           \
  }                                                                                                    \
  attribute double Sum(const float* w, size_t n) {                                                     \
    return SumBody(w, n);                                                                              \
  }                                                                                                    \
  attribute double Squares(const float* w, size_t n) {                                                 \
    return SquaresBody(w, n);                                                                          \
  }                                                                                                    \
  attribute double Deviation(const float* w, size_t n, float c) {                                      \
    return DeviationBody(w, n, c);                                                                     \
  }                                                                                                    \
  attribute double SquaredDistance(const float* w, const float* v, size_t n) {                         \
    return SquaredDistanceBody(w, v, n);                                                               \
  }                                                                                                    \
  attribute void EncodeSigns(const float* w, size_t n, float centre, uint8_t* c) {                     \
    EncodeSignsBody(w, n, centre, c);                                                                  \
  }                                                                                                    \
  constexpr RowLoops kLoops = {#name, Range, Encode,  PowerError, WeightedError,   FitScale,   Decode, \
                               Dot,   Sum,   Squares, Deviation,  SquaredDistance, EncodeSigns};       \
  }

LOWBIT_LOOPS(baseline, )
#if defined(__x86_64__) && defined(__GNUC__)
LOWBIT_LOOPS(avx2, __attribute__((target("avx2"))))
#endif

}  // namespace

const RowLoops& BaselineLoops() {
  return baseline::kLoops;
}

const RowLoops& Loops() {
#if defined(__x86_64__) && defined(__GNUC__)
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) return avx2::kLoops;
#endif
  return baseline::kLoops;
}

}  // namespace lowbit
