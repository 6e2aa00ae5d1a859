// SPDX-License-Identifier: Apache-2.0
// Random numbers that are the same everywhere and for ever: what a seed picks is part of a result.
#pragma once

#include <cstdint>
#include <random>

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

// Python's random.seed(seed) and what it draws afterwards: MT19937 (Matsumoto and Nishimura, ACM TOMACS 8, 1998),
// its state filled from the seed as a key of one word. For protocols whose windows a Python script drew.
class PythonRandom {
 public:
  explicit PythonRandom(uint32_t seed);

  uint32_t Next() { return static_cast<uint32_t>(generator_()); }  // getrandbits(32)

  // randrange(n), 0 < n < 2^32: the leading bits of one number, as many as n has, until they are below n.
  uint32_t Below(uint32_t n);

 private:
  std::mt19937 generator_;
};

}  // namespace lowbit
