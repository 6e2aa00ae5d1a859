// SPDX-License-Identifier: Apache-2.0
// Added tokens: pieces of text such as <|im_end|> that become one id wherever they stand.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lowbit/text/flat_map.h"

namespace lowbit {

struct AddedToken {
  int32_t id = 0;
  std::string content;
  bool special = false;     // left out when decoding with skip_special
  bool normalized = false;  // looked for after normalization, in normalized form, instead of before
};

// Finds added tokens in text: the leftmost one, of several that begin there the longest.
class AddedTokenFinder {
 public:
  AddedTokenFinder() : AddedTokenFinder(std::span<const AddedToken>{}) {}
  // Of two tokens with the same content the first counts.
  explicit AddedTokenFinder(std::span<const AddedToken> tokens);

  struct Match {
    size_t begin, end;
    int32_t id;
  };
  // The first match in text[from, …). Time is linear in the text for a given set of tokens.
  std::optional<Match> Find(std::string_view text, size_t from) const;

 private:
  // A trie: node 0 is the root; key is node << 8 | byte.
  FlatMap<uint32_t> children_;
  std::vector<int32_t> ids_;  // per node, kNoToken where no token ends
  std::array<bool, 256> begins_{};
};

}  // namespace lowbit
