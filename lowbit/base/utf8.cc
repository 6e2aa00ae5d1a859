// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/utf8.h"

#include <array>
#include <cstdint>

namespace lowbit {
namespace {

struct Sequence {
  size_t length;      // bytes expected, 0 for a byte that begins nothing
  uint8_t low, high;  // range of the second byte (Unicode table 3-7)
};

Sequence LeadByte(uint8_t b) {
  if (b < 0x80) return {1, 0, 0};
  if (b < 0xC2) return {0, 0, 0};
  if (b < 0xE0) return {2, 0x80, 0xBF};
  if (b == 0xE0) return {3, 0xA0, 0xBF};
  if (b == 0xED) return {3, 0x80, 0x9F};
  if (b < 0xF0) return {3, 0x80, 0xBF};
  if (b == 0xF0) return {4, 0x90, 0xBF};
  if (b < 0xF4) return {4, 0x80, 0xBF};
  if (b == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// Bytes of the longest well-formed prefix of a sequence; `whole` tells whether it is complete.
size_t PrefixLength(std::string_view text, bool& whole) {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  whole = false;
  if (text.empty()) return 0;
  const Sequence s = LeadByte(at(0));
  if (s.length == 0) return 0;
  size_t n = 1;
  while (n < s.length && n < text.size()) {
    const uint8_t low = n == 1 ? s.low : 0x80, high = n == 1 ? s.high : 0xBF;
    if (at(n) < low || at(n) > high) return n;
    ++n;
  }
  whole = n == s.length;
  return n;
}

}  // namespace

size_t Utf8Length(std::string_view text) {
  bool whole;
  const size_t n = PrefixLength(text, whole);
  return whole ? n : 0;
}

size_t FirstInvalidUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    if (static_cast<uint8_t>(text[i]) < 0x80) {
      ++i;
      continue;
    }
    const size_t n = Utf8Length(text.substr(i));
    if (n == 0) return i;
    i += n;
  }
  return std::string_view::npos;
}

std::string ReplaceInvalidUtf8(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  size_t i = 0;
  while (i < text.size()) {
    bool whole;
    const size_t n = PrefixLength(text.substr(i), whole);
    if (whole) {
      out.append(text.substr(i, n));
      i += n;
    } else {
      out.append("\xEF\xBF\xBD");
      i += n == 0 ? 1 : n;
    }
  }
  return out;
}

}  // namespace lowbit
