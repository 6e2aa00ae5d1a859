// SPDX-License-Identifier: Apache-2.0
// The few Unicode properties that tokenizers look at, and normalization form C. The data are utf8proc's
// (Unicode 15.0 with Debian 12); all functions here expect valid UTF-8.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace lowbit {

// Every character is in exactly one of these.
enum class CharClass : uint8_t {
  kLetter,   // \p{L}
  kNumber,   // \p{N}: Nd, Nl and No
  kNewline,  // CR and LF
  kSpace,    // the rest of White_Space
  kOther,    // marks, punctuation, symbols, controls, unassigned
};

struct Character {
  CharClass kind;
  uint8_t length;  // in bytes
};

CharClass ClassOf(char32_t c);

// The code point that begins at text[i], and its length in bytes.
struct CodePoint {
  char32_t value;
  uint8_t length;
};
CodePoint DecodeAt(std::string_view text, size_t i);

// Unicode's White_Space property.
bool IsWhiteSpace(char32_t c);

// `text` in normalization form C: `text` itself where it has that form already, else `buffer`.
// Time and memory are O(n log n) and O(n), also for millions of combining marks in a row.
std::string_view ToNfc(std::string_view text, std::string& buffer);

// "15.0.0": characters newer than this count as unassigned.
std::string_view UnicodeVersion();

namespace unicode_internal {
extern const std::array<CharClass, 128> kAsciiClasses;
}

// Class and length of the character that begins at text[i].
inline Character CharacterAt(std::string_view text, size_t i) {
  const auto lead = static_cast<uint8_t>(text[i]);
  if (lead < 0x80) return {unicode_internal::kAsciiClasses[lead], 1};
  const CodePoint c = DecodeAt(text, i);
  return {ClassOf(c.value), c.length};
}

}  // namespace lowbit
