// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/random.h"

#include "lowbit/base/error.h"

namespace lowbit {

SplitMix64 SplitMix64::ForItem(uint64_t seed, uint64_t index) {
  // Through the mixer twice: states of neighbours must not lie on one another's way.
  return SplitMix64(SplitMix64(SplitMix64(seed).Next() ^ index).Next());
}

uint64_t SplitMix64::Next() {
  state_ += 0x9E3779B97F4A7C15u;
  uint64_t z = state_;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

uint64_t SplitMix64::Below(uint64_t n) {
  LOWBIT_ASSERT(n > 0);
  const uint64_t unfinished = (0 - n) % n;  // 2^64 mod n
  uint64_t number = Next();
  while (number < unfinished) number = Next();
  return number % n;
}

}  // namespace lowbit
