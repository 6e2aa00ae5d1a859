// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/bpe.h"

#include <algorithm>
#include <functional>

#include "lowbit/base/error.h"

namespace lowbit {
namespace {
size_t ByteAt(std::string_view bytes, size_t i) {
  return static_cast<uint8_t>(bytes[i]);
}
}  // namespace

BytePairEncoder::BytePairEncoder(const Vocabulary& vocabulary, MergeTable merges, bool whole_tokens_first)
    : merges_(std::move(merges)), whole_tokens_first_(whole_tokens_first) {
  for (size_t b = 0; b < byte_ids_.size(); ++b) {
    const char byte = static_cast<char>(b);
    byte_ids_[b] = vocabulary.Find({&byte, 1});
    lacks_bytes_ |= byte_ids_[b] == kNoToken;
  }
  byte_pair_ranks_.reserve(byte_ids_.size() * byte_ids_.size());
  for (const int32_t left : byte_ids_) {
    for (const int32_t right : byte_ids_) {
      const bool known = left != kNoToken && right != kNoToken;
      byte_pair_ranks_.push_back(known ? merges_.Rank(left, right) : MergeTable::kNoRank);
    }
  }
}

void BytePairEncoder::Encode(std::string_view pre_token, const Vocabulary& vocabulary, Scratch& scratch,
                             std::vector<int32_t>& ids) const {
  PreTokenCache::Slot* slot = scratch.cache.Find(pre_token);
  if (slot != nullptr && slot->Holds(pre_token)) {
    ids.insert(ids.end(), slot->ids.begin(), slot->ids.begin() + slot->count);
    return;
  }
  const size_t before = ids.size();
  const int32_t whole = whole_tokens_first_ ? vocabulary.Find(pre_token) : kNoToken;
  if (whole != kNoToken) {
    ids.push_back(whole);
  } else {
    const std::string_view bytes = lacks_bytes_ ? WithoutUnknownBytes(pre_token, scratch) : pre_token;
    if (bytes.size() > kShort) {
      MergeLong(bytes, scratch, ids);
    } else if (!bytes.empty()) {
      MergeShort(bytes, ids);
    }
  }
  if (slot != nullptr) slot->Store(pre_token, std::span(ids).subspan(before));
}

std::string_view BytePairEncoder::WithoutUnknownBytes(std::string_view bytes, Scratch& scratch) const {
  const auto is_unknown = [&](char b) { return byte_ids_[static_cast<uint8_t>(b)] == kNoToken; };
  if (std::none_of(bytes.begin(), bytes.end(), is_unknown)) return bytes;
  scratch.known.clear();
  std::remove_copy_if(bytes.begin(), bytes.end(), std::back_inserter(scratch.known), is_unknown);
  return scratch.known;
}

void BytePairEncoder::MergeShort(std::string_view bytes, std::vector<int32_t>& ids) const {
  std::array<int32_t, kShort> symbols;
  std::array<uint32_t, kShort> ranks;  // [i]: of the merge of symbols i and i + 1
  size_t n = bytes.size();
  LOWBIT_ASSERT(n > 0 && n <= kShort);
  for (size_t i = 0; i < n; ++i) {
    symbols[i] = byte_ids_[ByteAt(bytes, i)];
    ranks[i] =
        i + 1 < n ? byte_pair_ranks_[ByteAt(bytes, i) << 8 | ByteAt(bytes, i + 1)] : MergeTable::kNoRank;
  }
  while (true) {
    const auto lowest = std::min_element(ranks.begin(), ranks.begin() + n);
    if (*lowest == MergeTable::kNoRank) break;
    const auto i = static_cast<size_t>(lowest - ranks.begin());
    symbols[i] = merges_.Result(*lowest);
    std::copy(symbols.begin() + i + 2, symbols.begin() + n, symbols.begin() + i + 1);
    std::copy(ranks.begin() + i + 2, ranks.begin() + n, ranks.begin() + i + 1);
    --n;
    ranks[i] = i + 1 < n ? merges_.Rank(symbols[i], symbols[i + 1]) : MergeTable::kNoRank;
    if (i > 0) ranks[i - 1] = merges_.Rank(symbols[i - 1], symbols[i]);
  }
  ids.insert(ids.end(), symbols.begin(), symbols.begin() + n);
}

// A list of symbols and a heap of merges. A heap entry is rank << 32 | index of the left symbol, so that
// the smallest is the leftmost of lowest rank. Symbols only grow, so an entry is out of date exactly when
// its symbol has another rank now.
void BytePairEncoder::MergeLong(std::string_view bytes, Scratch& scratch, std::vector<int32_t>& ids) const {
  LOWBIT_ASSERT(!bytes.empty() && bytes.size() < (size_t{1} << 31));
  constexpr uint32_t kEnd = UINT32_MAX;  // "no neighbour"
  std::vector<Scratch::Symbol>& symbols = scratch.symbols;
  std::vector<uint64_t>& heap = scratch.heap;
  const auto entry = [&](uint32_t i) { return uint64_t{symbols[i].rank} << 32 | i; };

  const auto n = static_cast<uint32_t>(bytes.size());
  symbols.resize(n);
  heap.clear();
  for (uint32_t i = 0; i < n; ++i) {
    const bool is_last = i + 1 == n;
    const uint32_t rank =
        is_last ? MergeTable::kNoRank : byte_pair_ranks_[ByteAt(bytes, i) << 8 | ByteAt(bytes, i + 1)];
    symbols[i] = {byte_ids_[ByteAt(bytes, i)], i == 0 ? kEnd : i - 1, is_last ? kEnd : i + 1, rank};
    if (rank != MergeTable::kNoRank) heap.push_back(entry(i));
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());

  const auto rank_again = [&](uint32_t i) {
    Scratch::Symbol& symbol = symbols[i];
    symbol.rank =
        symbol.next == kEnd ? MergeTable::kNoRank : merges_.Rank(symbol.id, symbols[symbol.next].id);
    if (symbol.rank == MergeTable::kNoRank) return;
    heap.push_back(entry(i));
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const auto rank = static_cast<uint32_t>(heap.back() >> 32), i = static_cast<uint32_t>(heap.back());
    heap.pop_back();
    Scratch::Symbol& left = symbols[i];
    if (left.rank != rank) continue;
    Scratch::Symbol& right = symbols[left.next];
    left.id = merges_.Result(rank);
    left.next = right.next;
    right.rank = MergeTable::kNoRank;
    if (left.next != kEnd) symbols[left.next].previous = i;
    rank_again(i);
    if (left.previous != kEnd) rank_again(left.previous);
  }
  for (uint32_t i = 0; i != kEnd; i = symbols[i].next) ids.push_back(symbols[i].id);
}

}  // namespace lowbit
