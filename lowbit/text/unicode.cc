// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/unicode.h"

#include <utf8proc.h>

#include <algorithm>
#include <vector>

#include "lowbit/base/error.h"

namespace lowbit {
namespace {

constexpr std::array<CharClass, 128> MakeAsciiClasses() {
  std::array<CharClass, 128> classes{};
  for (unsigned c = 0; c < 128; ++c) {
    const unsigned lower = c | 0x20;
    classes[c] = lower >= 'a' && lower <= 'z'           ? CharClass::kLetter
                 : c >= '0' && c <= '9'                 ? CharClass::kNumber
                 : c == '\n' || c == '\r'               ? CharClass::kNewline
                 : c == ' ' || (c >= '\t' && c <= '\r') ? CharClass::kSpace
                                                        : CharClass::kOther;
  }
  return classes;
}

bool IsMark(utf8proc_category_t category) {
  return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
         category == UTF8PROC_CATEGORY_ME;
}

constexpr unsigned kFirstMark = 0x300;    // everything below is a starter and composed already
constexpr uint8_t kFirstMarkLead = 0xCC;  // the first byte of U+0300; no byte of a character below reaches it

// True for characters that NFC leaves alone wherever they stand: they do not decompose, do not move and
// do not join the character before. What can join is a mark, or a letter of the two ranges below.
bool IsInert(char32_t c) {
  if (c < kFirstMark || (c >= 0x3400 && c <= 0x9FFF)) return true;
  if (c >= 0x1100 && c <= 0x11FF) return false;    // Hangul jamo
  if (c >= 0x16D40 && c <= 0x16D7F) return false;  // Kirat Rai vowels, letters of Unicode 16
  const auto code_point = static_cast<utf8proc_int32_t>(c);
  if (c >= 0xAC00 && c <= 0xD7A3) return true;  // Hangul syllables decompose, and compose back
  if (IsMark(utf8proc_category(code_point))) return false;
  utf8proc_int32_t parts[2];
  const auto count = utf8proc_decompose_char(code_point, parts, 2, UTF8PROC_DECOMPOSE, nullptr);
  return count == 1 && parts[0] == code_point;
}

void AppendDecomposed(char32_t c, std::vector<utf8proc_int32_t>& out) {
  utf8proc_int32_t parts[8];  // the longest canonical decomposition has 4
  const auto count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c), parts, std::size(parts),
                                             UTF8PROC_DECOMPOSE, nullptr);
  LOWBIT_ASSERT(count > 0 && count <= static_cast<utf8proc_ssize_t>(std::size(parts)));
  out.insert(out.end(), parts, parts + count);
}

// Sorts every run of marks by combining class. utf8proc would do it by swapping neighbours, which is
// quadratic in the length of a run.
void OrderMarks(std::vector<utf8proc_int32_t>& text) {
  const auto class_of = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  const auto is_starter = [&](utf8proc_int32_t c) { return class_of(c) == 0; };
  auto begin = text.begin();
  while (true) {
    begin = std::find_if_not(begin, text.end(), is_starter);
    if (begin == text.end()) return;
    const auto end = std::find_if(begin, text.end(), is_starter);
    std::stable_sort(begin, end, [&](auto a, auto b) { return class_of(a) < class_of(b); });
    begin = end;
  }
}

void AppendUtf8(utf8proc_int32_t c, std::string& out) {
  utf8proc_uint8_t bytes[4];
  const auto length = utf8proc_encode_char(c, bytes);
  out.append(reinterpret_cast<const char*>(bytes), static_cast<size_t>(length));
}

// Appends NFC of `text`, which begins with a starter or the text, to `out`.
void AppendComposed(std::string_view text, std::vector<utf8proc_int32_t>& scratch, std::string& out) {
  scratch.clear();
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = DecodeAt(text, i);
    AppendDecomposed(c.value, scratch);
    i += c.length;
  }
  OrderMarks(scratch);
  const auto count =
      utf8proc_normalize_utf32(scratch.data(), static_cast<utf8proc_ssize_t>(scratch.size()),
                               static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  LOWBIT_ASSERT(count >= 0);
  for (utf8proc_ssize_t i = 0; i < count; ++i) AppendUtf8(scratch[static_cast<size_t>(i)], out);
}

}  // namespace

const std::array<CharClass, 128> unicode_internal::kAsciiClasses = MakeAsciiClasses();

CharClass ClassOf(char32_t c) {
  if (c < 0x80) return unicode_internal::kAsciiClasses[c];
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return CharClass::kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return CharClass::kNumber;
    default:
      return IsWhiteSpace(c) ? CharClass::kSpace : CharClass::kOther;
  }
}

CodePoint DecodeAt(std::string_view text, size_t i) {
  const auto at = [&](size_t k) { return static_cast<char32_t>(static_cast<uint8_t>(text[i + k])); };
  const auto tail = [&](size_t k) { return at(k) & 0x3F; };
  const char32_t lead = at(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | tail(1), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | tail(1) << 6 | tail(2), 3};
  return {(lead & 0x07) << 18 | tail(1) << 12 | tail(2) << 6 | tail(3), 4};
}

bool IsWhiteSpace(char32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

std::string_view ToNfc(std::string_view text, std::string& buffer) {
  const auto may_change = [](char b) { return static_cast<uint8_t>(b) >= kFirstMarkLead; };
  if (std::none_of(text.begin(), text.end(), may_change)) return text;

  // Only stretches of characters that are not inert are rewritten, each with the inert character before.
  buffer.clear();
  std::vector<utf8proc_int32_t> scratch;
  size_t copied = 0;    // text[0, copied) is in the buffer
  size_t previous = 0;  // where the character before i begins
  for (size_t i = 0; i < text.size();) {
    CodePoint c = DecodeAt(text, i);
    if (IsInert(c.value)) {
      previous = i;
      i += c.length;
      continue;
    }
    size_t end = i + c.length;
    while (end < text.size() && !IsInert((c = DecodeAt(text, end)).value)) end += c.length;
    buffer.append(text, copied, previous - copied);
    AppendComposed(text.substr(previous, end - previous), scratch, buffer);
    copied = previous = i = end;
  }
  if (copied == 0) return text;
  buffer.append(text, copied);
  return buffer;
}

std::string_view UnicodeVersion() {
  return utf8proc_unicode_version();
}

}  // namespace lowbit
