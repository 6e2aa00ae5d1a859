// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/pretokenizer.h"

#include <array>

#include "lowbit/base/error.h"
#include "lowbit/text/unicode.h"

namespace lowbit {
namespace {

// What kGpt2 stands for is not written in files (ByteLevel has it built in):
//   's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
struct KnownPattern {
  std::string_view pattern;
  SplitRule rule;
};
constexpr std::array kKnownPatterns = {
    KnownPattern{R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
                 R"(|\s*[\r\n]+|\s+(?!\S)|\s+)",
                 SplitRule::kQwen},
    KnownPattern{
        R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*)"
        R"(|\s*[\r\n]+|\s+(?!\S)|\s+)",
        SplitRule::kLlama3},
};

bool IsSpace(CharClass kind) {
  return kind == CharClass::kSpace || kind == CharClass::kNewline;
}

// One piece of text, and the questions the matchers ask about it.
class Piece {
 public:
  explicit Piece(std::string_view text) : text_(text) {}

  bool AtEnd(size_t i) const { return i == text_.size(); }
  bool HasAt(size_t i, char byte) const { return i < text_.size() && text_[i] == byte; }
  bool HasAt(size_t i, CharClass kind) const {
    return i < text_.size() && CharacterAt(text_, i).kind == kind;
  }
  Character At(size_t i) const { return CharacterAt(text_, i); }

  // Where the run of `kind` that covers text[begin..i) and goes on at i ends.
  size_t RunEnd(size_t i, CharClass kind) const {
    while (i < text_.size()) {
      const Character c = CharacterAt(text_, i);
      if (c.kind != kind) break;
      i += c.length;
    }
    return i;
  }

  // Length of 's 't 're 've 'm 'll 'd at text[i], 0 for none. Regardless of case also '\u017F, the long
  // s, which folds to s.
  size_t ContractionLength(size_t i, bool any_case) const {
    if (text_[i] != '\'') return 0;
    const auto letter = [&](size_t k) {
      const char c = i + k < text_.size() ? text_[i + k] : '\0';
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    };
    switch (letter(1)) {
      case 's':
      case 't':
      case 'm':
      case 'd':
        return 2;
      case 'r':
      case 'v':
        return letter(2) == 'e' ? 3 : 0;
      case 'l':
        return letter(2) == 'l' ? 3 : 0;
      case '\xC5':
        return any_case && letter(2) == '\xBF' ? 3 : 0;
      default:
        return 0;
    }
  }

  // A run of White_Space: where it ends, where its last character begins, and where its last line break
  // ends (0 for none).
  struct SpaceRun {
    size_t end, last, after_newline;
  };
  SpaceRun SpaceRunAt(size_t begin) const {
    SpaceRun run{begin, begin, 0};
    while (run.end < text_.size()) {
      const Character c = CharacterAt(text_, run.end);
      if (!IsSpace(c.kind)) break;
      run.last = run.end;
      run.end += c.length;
      if (c.kind == CharClass::kNewline) run.after_newline = run.end;
    }
    return run;
  }

 private:
  std::string_view text_;
};

// \s+(?!\S)|\s+ on a run followed by something else: all but its last character, or its only one.
size_t EndOfSpacesBeforeText(const Piece::SpaceRun& run, size_t begin) {
  return run.last > begin ? run.last : run.end;
}

// The alternatives of kQwen and kLlama3, in their order, sorted by what the first character can begin.
size_t EndOfQwen(const Piece& piece, size_t begin, int max_numbers) {
  const Character first = piece.At(begin);
  const size_t second = begin + first.length;
  if (first.kind == CharClass::kLetter) return piece.RunEnd(second, CharClass::kLetter);
  if (first.kind == CharClass::kNumber) {
    size_t end = second;
    for (int n = 1; n < max_numbers && piece.HasAt(end, CharClass::kNumber); ++n) end += piece.At(end).length;
    return end;
  }
  if (const size_t length = piece.ContractionLength(begin, true); length > 0) return begin + length;
  if (first.kind != CharClass::kNewline && piece.HasAt(second, CharClass::kLetter)) {
    return piece.RunEnd(second, CharClass::kLetter);
  }
  if (first.kind == CharClass::kOther ||
      (piece.HasAt(begin, ' ') && piece.HasAt(second, CharClass::kOther))) {
    return piece.RunEnd(piece.RunEnd(second, CharClass::kOther), CharClass::kNewline);
  }
  const Piece::SpaceRun run = piece.SpaceRunAt(begin);
  if (run.after_newline > 0) return run.after_newline;
  return piece.AtEnd(run.end) ? run.end : EndOfSpacesBeforeText(run, begin);
}

// With `isolate_numbers` every number character ends the piece before it and is a piece of its own.
size_t EndOfGpt2(const Piece& piece, size_t begin, bool isolate_numbers) {
  if (const size_t length = piece.ContractionLength(begin, false); length > 0) return begin + length;
  const size_t start = piece.HasAt(begin, ' ') ? begin + 1 : begin;  // of what an optional space precedes
  if (!piece.AtEnd(start)) {
    const Character c = piece.At(start);
    const bool alone = isolate_numbers && c.kind == CharClass::kNumber;
    if (alone && start == begin) return start + c.length;
    if (!alone && !IsSpace(c.kind)) return piece.RunEnd(start + c.length, c.kind);
  }
  const Piece::SpaceRun run = piece.SpaceRunAt(begin);
  const bool at_end = piece.AtEnd(run.end) || (isolate_numbers && piece.HasAt(run.end, CharClass::kNumber));
  return at_end ? run.end : EndOfSpacesBeforeText(run, begin);
}

}  // namespace

std::optional<SplitRule> SplitRuleOfPattern(std::string_view pattern) {
  for (const KnownPattern& known : kKnownPatterns) {
    if (known.pattern == pattern) return known.rule;
  }
  return std::nullopt;
}

size_t PreTokenEnd(SplitRule rule, std::string_view text, size_t begin) {
  LOWBIT_ASSERT(begin < text.size());
  const Piece piece(text);
  switch (rule) {
    case SplitRule::kQwen:
      return EndOfQwen(piece, begin, 1);
    case SplitRule::kLlama3:
      return EndOfQwen(piece, begin, 3);
    case SplitRule::kGpt2:
      return EndOfGpt2(piece, begin, false);
    case SplitRule::kDigitsGpt2:
      return EndOfGpt2(piece, begin, true);
  }
  return text.size();
}

}  // namespace lowbit
