// SPDX-License-Identifier: Apache-2.0
// Which tokens a method learns from. docs/calibration.md says which policy which paper used.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/model/decoder.h"
#include "lowbit/text/tokenizer.h"

namespace lowbit {

// How documents become sequences of T tokens. Each document is tokenized alone, without special tokens.
//   concat  documents in the order of the file, one after the other without anything between, cut into
//           windows of T; the first n. As llm-awq, without its shuffle and its limit on documents
//   window  n different documents of more than T tokens in random order, of each one window of T that begins at
//           a random token and never takes the last one. As the loaders of GPTQ
enum class CalibrationPolicy : uint8_t { kConcat, kWindow };
std::string_view Name(CalibrationPolicy policy);  // "concat", "window"

// Throws Error{kUsage} for another word.
CalibrationPolicy ParseCalibrationPolicy(std::string_view name);

struct CalibrationSpec {
  // Documents: the "text" of each line of JSON lines (IsJsonLinesName), any other file is one document. Both may
  // be compressed (.gz, .zst).
  std::string file;
  size_t samples = 128;  // n
  size_t length = 2048;  // T, tokens
  CalibrationPolicy policy = CalibrationPolicy::kConcat;
  uint64_t seed = 0;  // of policy window

  bool operator==(const CalibrationSpec&) const = default;

  // Canonical: "concat samples=128 length=2048", "window samples=128 length=2048 seed=0". Without the file: what
  // came out of it is in the set's hash.
  std::string Text() const;
};

// Rows on which a quantized layer is judged without having been learned from, about as many tokens in all.
inline constexpr size_t kHeldOutTokens = 512;

struct CalibrationSet {
  CalibrationSpec spec;
  std::vector<TokenIds> sequences;  // spec.samples of spec.length tokens
  std::string hash;                 // SHA-256 over spec.Text() and the tokens, 64 digits
  size_t documents = 0;             // read: all of the file with window, as many as were needed with concat
  size_t tokenized = 0;             // of these, how many were tokenized

  // Sequences of min(T, kHeldOutTokens) tokens that are in no sequence of the set, up to kHeldOutTokens in all and
  // up to n, or as many as the text has: with concat what follows the set, with window documents of the next
  // ranks. The set and its hash do not depend on them.
  std::vector<TokenIds> held_out;
  std::string held_out_hash;  // SHA-256 over their tokens; empty without any

  size_t Tokens() const { return spec.samples * spec.length; }

  // For the key of a row: "calibration v1 concat samples=128 length=2048 sha256=…".
  std::string Key() const { return "calibration v1 " + spec.Text() + " sha256=" + hash; }
};

// The text that `name` stands for: "c4" is c4/train.head.jsonl in the first of `folders` that has it; everything
// else is the path of a file already. Throws Error{kMissing} naming the folders.
std::string FindCalibrationText(const std::string& name, std::span<const std::string> folders);

// Numbers that make sense: at least one sample of at least two tokens, together at most 2^31 tokens. Throws
// Error{kUsage}.
void RequireSound(const CalibrationSpec& spec);

// Reads and tokenizes. Throws Error{kUsage} as RequireSound; Error{kMissing}; Error{kContent} for what is wrong
// in the file, with its line, and where it does not hold enough, with what it does hold.
CalibrationSet LoadCalibrationSet(const CalibrationSpec& spec, const Tokenizer& tokenizer);

}  // namespace lowbit
