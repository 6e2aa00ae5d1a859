// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same everywhere and for ever: what a seed picks is part of a result.
#pragma once

#include <cstdint>

namespace lowbit {

// SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014): state +=
// 0x9E3779B97F4A7C15, then two rounds of xor-shift and multiply. The standard library's distributions differ
// between implementations; Below does not.
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  // The generator of item `index` under `seed`: independent of how many items there are, and of their order.
  static SplitMix64 ForItem(uint64_t seed, uint64_t index);

  uint64_t Next();

  // Uniform in [0, n), n > 0: numbers of the last, incomplete run of n are drawn again.
  uint64_t Below(uint64_t n);

 private:
  uint64_t state_;
};

}  // namespace lowbit
