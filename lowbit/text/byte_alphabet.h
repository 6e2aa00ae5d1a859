// SPDX-License-Identifier: Apache-2.0
// The printable alphabet in which byte-level vocabularies are written: one character per byte.
// Bytes 0x21–0x7E, 0xA1–0xAC and 0xAE–0xFF stand for themselves, the other 68 in increasing order are
// U+0100, U+0101, … U+0143 (so a space is U+0120).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lowbit {

// Appends the bytes that `text` stands for to `out`. False, with `out` in any state, when `text` holds a
// character that is not of the alphabet.
bool AppendAlphabetBytes(std::string_view text, std::string& out);

// The character for `byte`, in UTF-8.
std::string AlphabetCharacter(uint8_t byte);

// `bytes` written in the alphabet.
std::string ToAlphabet(std::string_view bytes);

}  // namespace lowbit
