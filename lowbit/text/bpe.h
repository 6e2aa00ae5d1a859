// SPDX-License-Identifier: Apache-2.0
// Byte-pair encoding of one pre-token: start from single bytes, join the neighbours whose merge has the
// lowest rank (the leftmost of equal ones) until no two neighbours have a merge.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/text/flat_map.h"
#include "lowbit/text/vocabulary.h"

namespace lowbit {

// The merges of a file; the rank of a merge is its index there.
class MergeTable {
 public:
  explicit MergeTable(size_t merges = 0) : ranks_(merges) { results_.reserve(merges); }

  // Appends the next merge. False when the pair is there already.
  bool Add(int32_t left, int32_t right, int32_t result) {
    if (!ranks_.Insert(Key(left, right), static_cast<uint32_t>(results_.size()))) return false;
    results_.push_back(result);
    return true;
  }

  // Lower than any rank that is missing.
  static constexpr uint32_t kNoRank = UINT32_MAX;

  uint32_t Rank(int32_t left, int32_t right) const {
    const uint32_t* rank = ranks_.Find(Key(left, right));
    return rank == nullptr ? kNoRank : *rank;
  }
  int32_t Result(uint32_t rank) const { return results_[rank]; }
  size_t size() const { return results_.size(); }

 private:
  static uint64_t Key(int32_t left, int32_t right) {
    return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
  }
  FlatMap<uint32_t> ranks_;
  std::vector<int32_t> results_;
};

// Ids of recent short pre-tokens. Direct-mapped and of fixed size: a colliding pre-token takes the place.
class PreTokenCache {
 public:
  static constexpr size_t kSlots = size_t{1} << 15;  // × 64 bytes = 2 MB

  struct alignas(64) Slot {  // one cache line
    static constexpr size_t kMaxBytes = 30, kMaxIds = 8;
    uint8_t length = 0, count = 0;  // length 0: empty
    std::array<char, kMaxBytes> bytes;
    std::array<int32_t, kMaxIds> ids;

    bool Holds(std::string_view pre_token) const {
      return length == pre_token.size() && std::memcmp(bytes.data(), pre_token.data(), length) == 0;
    }
    void Store(std::string_view pre_token, std::span<const int32_t> result) {
      if (result.size() > kMaxIds) return;
      length = static_cast<uint8_t>(pre_token.size());
      count = static_cast<uint8_t>(result.size());
      std::copy(pre_token.begin(), pre_token.end(), bytes.begin());
      std::copy(result.begin(), result.end(), ids.begin());
    }
  };

  // The slot for `pre_token`, which the caller checks with Holds; nullptr for one that is too long.
  Slot* Find(std::string_view pre_token) {
    if (pre_token.size() > Slot::kMaxBytes) return nullptr;
    return &slots_[HashBytes(pre_token) >> (64 - std::bit_width(kSlots - 1))];
  }

 private:
  std::vector<Slot> slots_ = std::vector<Slot>(kSlots);
};

class BytePairEncoder {
 public:
  // What one call at a time needs: the cache and working memory. Belongs to one encoder.
  struct Scratch {
    struct Symbol {
      int32_t id;
      uint32_t previous, next;  // neighbours in the list
      uint32_t rank;            // of the merge with the next one
    };
    PreTokenCache cache;
    std::vector<Symbol> symbols;
    std::vector<uint64_t> heap;
    std::string known;  // a pre-token without the bytes that have no token

    void FreeWorkingMemory() {  // all but the cache
      std::vector<Symbol>().swap(symbols);
      std::vector<uint64_t>().swap(heap);
      std::string().swap(known);
    }
  };

  BytePairEncoder() = default;
  // Expects merges of the vocabulary's tokens. Bytes without a token are dropped, as the reference does.
  // With `whole_tokens_first` (ignore_merges in files) a pre-token that is a token is not built by merges.
  BytePairEncoder(const Vocabulary& vocabulary, MergeTable merges, bool whole_tokens_first);

  // Appends the ids of `pre_token` (not empty, fewer than 2^31 bytes). O(n log n), no recursion.
  void Encode(std::string_view pre_token, const Vocabulary& vocabulary, Scratch& scratch,
              std::vector<int32_t>& ids) const;

 private:
  // Up to this length it is faster to look through all ranks than to keep a heap.
  static constexpr size_t kShort = 32;
  std::string_view WithoutUnknownBytes(std::string_view bytes, Scratch& scratch) const;
  void MergeShort(std::string_view bytes, std::vector<int32_t>& ids) const;
  void MergeLong(std::string_view bytes, Scratch& scratch, std::vector<int32_t>& ids) const;

  MergeTable merges_;
  bool whole_tokens_first_ = false, lacks_bytes_ = false;
  std::array<int32_t, 256> byte_ids_{};
  std::vector<uint32_t> byte_pair_ranks_;  // [first byte × 256 + second]: half of all look-ups, in 256 KB
};

}  // namespace lowbit
