// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/random.h"

#include <algorithm>
#include <array>
#include <bit>

#include "lowbit/base/error.h"

namespace lowbit {
namespace {

// MT19937's init_by_array with a key of one word, in the form in which the standard library asks for a state.
class KeyOfOneWord {
 public:
  using result_type = uint32_t;
  explicit KeyOfOneWord(uint32_t key) : key_(key) {}

  template <class Iterator>
  void generate(Iterator begin, Iterator end) const {
    std::ranges::copy(State(), begin);
    LOWBIT_ASSERT(end - begin == kWords);
  }

 private:
  static constexpr ptrdiff_t kWords = std::mt19937::state_size;

  std::array<uint32_t, kWords> State() const {
    std::array<uint32_t, kWords> state{};
    state[0] = 19650218;
    for (uint32_t i = 1; i < kWords; ++i) state[i] = 1812433253 * Folded(state[i - 1]) + i;
    uint32_t at = 1;
    const auto next = [&] {
      if (++at < kWords) return;
      state[0] = state[kWords - 1];
      at = 1;
    };
    for (ptrdiff_t i = 0; i < kWords; ++i, next())
      state[at] = (state[at] ^ Folded(state[at - 1]) * 1664525) + key_;
    for (ptrdiff_t i = 1; i < kWords; ++i, next())
      state[at] = (state[at] ^ Folded(state[at - 1]) * 1566083941) - at;
    state[0] = 0x80000000;
    return state;
  }
  static uint32_t Folded(uint32_t word) { return word ^ word >> 30; }

  uint32_t key_;
};

std::mt19937 Keyed(uint32_t seed) {
  KeyOfOneWord key(seed);
  return std::mt19937(key);
}

}  // namespace

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

PythonRandom::PythonRandom(uint32_t seed) : generator_(Keyed(seed)) {}

uint32_t PythonRandom::Below(uint32_t n) {
  LOWBIT_ASSERT(n > 0);
  const int unused = std::countl_zero(n);
  uint32_t number = Next() >> unused;
  while (number >= n) number = Next() >> unused;
  return number;
}

}  // namespace lowbit
