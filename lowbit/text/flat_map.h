// SPDX-License-Identifier: Apache-2.0
// Hashing of short byte strings, and a hash table for what is built once and then only read.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <random>
#include <string_view>
#include <vector>

#include "lowbit/base/error.h"

namespace lowbit {

// 2^64 / golden ratio, odd: spreads neighbouring keys over the high bits of a product.
inline constexpr uint64_t kHashFactor = 0x9E3779B97F4A7C15u;

// Another number in every run: who writes a file cannot know which of its keys fall into one slot, and make
// loading it quadratic. No result depends on it, only where entries lie.
inline const uint64_t kHashSeed = [] {
  std::random_device source;
  return uint64_t{source()} << 32 | source();
}();

// A hash of `text`, the same throughout a run; the high bits are the good ones.
inline uint64_t HashBytes(std::string_view text) {
  const auto mix = [](uint64_t h) { return (h ^ (h >> 29)) * kHashFactor; };
  const auto load32 = [](const char* p) {
    uint32_t v;
    std::memcpy(&v, p, sizeof v);
    return uint64_t{v};
  };
  const char* p = text.data();
  size_t n = text.size();
  uint64_t h = (n + 1) * kHashFactor ^ kHashSeed;
  for (; n >= 8; p += 8, n -= 8) h = mix(h ^ (load32(p) | load32(p + 4) << 32));
  uint64_t tail = 0;  // the last 0 to 7 bytes, read without a loop; overlapping reads are harmless
  if (n >= 4) {
    tail = load32(p) | load32(p + n - 4) << 32;
  } else if (n > 0) {
    const auto byte = [&](size_t i) { return uint64_t{static_cast<uint8_t>(p[i])}; };
    tail = byte(0) | byte(n / 2) << 8 | byte(n - 1) << 16;
  }
  return mix(h ^ tail);
}

// From 64-bit keys other than 2^64 - 1 to T. The number of entries is bounded when the table is made; nothing
// is removed.
template <class T>
class FlatMap {
 public:
  explicit FlatMap(size_t max_entries = 0)
      : slots_(std::bit_ceil(2 * max_entries + 2)),
        factor_(kHashSeed | 1),  // odd, as every key must have a product of its own
        shift_(64 - std::bit_width(slots_.size() - 1)) {}

  // False when the key is there already; its value stays.
  bool Insert(uint64_t key, T value) {
    LOWBIT_ASSERT(key != kEmpty && 2 * (size_ + 1) <= slots_.size());
    Slot& slot = slots_[IndexOf(key)];
    if (slot.key == key) return false;
    slot = {key, value};
    ++size_;
    return true;
  }

  // nullptr when the key is not there.
  const T* Find(uint64_t key) const {
    LOWBIT_ASSERT(key != kEmpty);
    const Slot& slot = slots_[IndexOf(key)];
    return slot.key == key ? &slot.value : nullptr;
  }

  size_t size() const { return size_; }

 private:
  static constexpr uint64_t kEmpty = ~uint64_t{0};
  struct Slot {
    uint64_t key = kEmpty;
    T value{};
  };

  // Where `key` is or belongs. At most half the slots are taken, so that an empty one is always found.
  size_t IndexOf(uint64_t key) const {
    size_t i = (key * factor_) >> shift_;
    while (slots_[i].key != key && slots_[i].key != kEmpty) i = (i + 1) & (slots_.size() - 1);
    return i;
  }

  std::vector<Slot> slots_;
  uint64_t factor_;
  int shift_;
  size_t size_ = 0;
};

}  // namespace lowbit
