// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/byte_alphabet.h"

#include <array>

namespace lowbit {
namespace {

constexpr size_t kCodePoints = 0x144;  // the alphabet lies below

constexpr bool StandsForItself(unsigned b) {
  return (b >= 0x21 && b <= 0x7E) || (b >= 0xA1 && b <= 0xAC) || (b >= 0xAE && b <= 0xFF);
}

struct Tables {
  std::array<uint16_t, 256> code_point{};
  std::array<int16_t, kCodePoints> byte{};  // -1: not of the alphabet
};

constexpr Tables MakeTables() {
  Tables t;
  t.byte.fill(-1);
  uint16_t next = 0x100;
  for (unsigned b = 0; b < 256; ++b) {
    t.code_point[b] = StandsForItself(b) ? static_cast<uint16_t>(b) : next++;
    t.byte[t.code_point[b]] = static_cast<int16_t>(b);
  }
  return t;
}

constexpr Tables kTables = MakeTables();

}  // namespace

bool AppendAlphabetBytes(std::string_view text, std::string& out) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto lead = static_cast<uint8_t>(text[i]);
    unsigned c = lead;
    if (lead >= 0x80) {
      // Two bytes reach U+07FF, which is enough; a longer sequence has a lead byte of 0xE0 or more.
      if (lead < 0xC2 || lead > 0xDF || i + 1 == text.size()) return false;
      c = (lead & 0x1Fu) << 6 | (static_cast<uint8_t>(text[++i]) & 0x3Fu);
    }
    if (c >= kCodePoints || kTables.byte[c] < 0) return false;
    out.push_back(static_cast<char>(kTables.byte[c]));
  }
  return true;
}

std::string AlphabetCharacter(uint8_t byte) {
  const unsigned c = kTables.code_point[byte];
  if (c < 0x80) return std::string(1, static_cast<char>(c));
  return {static_cast<char>(0xC0 | c >> 6), static_cast<char>(0x80 | (c & 0x3F))};
}

std::string ToAlphabet(std::string_view bytes) {
  std::string text;
  for (const char b : bytes) text += AlphabetCharacter(static_cast<uint8_t>(b));
  return text;
}

}  // namespace lowbit
