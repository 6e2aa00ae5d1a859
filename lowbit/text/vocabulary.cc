// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/vocabulary.h"

#include <bit>

#include "lowbit/base/error.h"
#include "lowbit/text/flat_map.h"

namespace lowbit {
namespace {
uint32_t Hash32(std::string_view bytes) {
  return static_cast<uint32_t>(HashBytes(bytes) >> 32);
}
}  // namespace

Vocabulary::Vocabulary(size_t tokens, size_t bytes)
    : slots_(std::bit_ceil(2 * tokens + 2)), shift_(32 - std::bit_width(slots_.size() - 1)) {
  tokens_.reserve(tokens);
  blob_.reserve(bytes);
}

size_t Vocabulary::SlotOf(std::string_view bytes, uint32_t hash) const {
  size_t i = hash >> shift_;
  while (slots_[i].id != kNoToken && (slots_[i].hash != hash || Bytes(slots_[i].id) != bytes)) {
    i = (i + 1) & (slots_.size() - 1);
  }
  return i;
}

void Vocabulary::Store(int32_t id, std::string_view bytes) {
  LOWBIT_ASSERT(id >= 0 && id <= kMaxId && !bytes.empty());
  if (static_cast<size_t>(id) >= tokens_.size()) tokens_.resize(static_cast<size_t>(id) + 1);
  tokens_[static_cast<size_t>(id)] = {static_cast<uint32_t>(blob_.size()),
                                      static_cast<uint32_t>(bytes.size())};
  blob_.append(bytes);
}

Vocabulary::Inserted Vocabulary::Insert(int32_t id, std::string_view bytes) {
  const uint32_t hash = Hash32(bytes);
  const size_t slot = SlotOf(bytes, hash);
  if (slots_[slot].id != kNoToken) return Inserted::kBytesTwice;
  if (Has(id)) return Inserted::kIdTwice;
  Store(id, bytes);
  slots_[slot] = {hash, id};
  return Inserted::kYes;
}

void Vocabulary::InsertHidden(int32_t id, std::string_view bytes) {
  LOWBIT_ASSERT(!Has(id));
  Store(id, bytes);
}

int32_t Vocabulary::Find(std::string_view bytes) const {
  return slots_[SlotOf(bytes, Hash32(bytes))].id;
}

bool Vocabulary::Has(int32_t id) const {
  return !Bytes(id).empty();
}

std::string_view Vocabulary::Bytes(int32_t id) const {
  if (id < 0 || static_cast<size_t>(id) >= tokens_.size()) return {};
  const Token token = tokens_[static_cast<size_t>(id)];
  return std::string_view(blob_).substr(token.begin, token.length);
}

}  // namespace lowbit
