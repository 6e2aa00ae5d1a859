// SPDX-License-Identifier: Apache-2.0
// Tokens as raw bytes, by id and by content.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lowbit {

inline constexpr int32_t kNoToken = -1;

class Vocabulary {
 public:
  // The largest id a file may use; 16 times that of the largest vocabulary in use. Bounds what a hostile
  // file can make us allocate to 32 MB.
  static constexpr int32_t kMaxId = (1 << 22) - 1;

  // For up to `tokens` tokens of `bytes` bytes in all.
  explicit Vocabulary(size_t tokens = 0, size_t bytes = 0);

  enum class Inserted : uint8_t { kYes, kBytesTwice, kIdTwice };

  // A token that text can encode to. Expects 0 <= id <= kMaxId and bytes that are not empty.
  Inserted Insert(int32_t id, std::string_view bytes);

  // A token that only decoding (and the caller) knows: Find does not return it. Expects a free id.
  void InsertHidden(int32_t id, std::string_view bytes);

  // The token whose bytes are exactly these, or kNoToken.
  int32_t Find(std::string_view bytes) const;

  bool Has(int32_t id) const;
  std::string_view Bytes(int32_t id) const;          // empty for an id without a token
  size_t IdLimit() const { return tokens_.size(); }  // largest id + 1

 private:
  struct Token {
    uint32_t begin = 0, length = 0;  // in blob_; length 0: no token has this id
  };
  struct Slot {
    uint32_t hash = 0;
    int32_t id = kNoToken;
  };
  size_t SlotOf(std::string_view bytes, uint32_t hash) const;
  void Store(int32_t id, std::string_view bytes);

  std::string blob_;
  std::vector<Token> tokens_;
  std::vector<Slot> slots_;  // open addressing, at most half full
  int shift_;                // of a 32-bit hash, leaves the index of a slot
};

}  // namespace lowbit
