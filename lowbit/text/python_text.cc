// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/python_text.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

#include "lowbit/base/utf8.h"
#include "lowbit/text/unicode.h"

namespace lowbit {
namespace {

struct TitleCase {
  char32_t from;
  std::array<char32_t, 3> to;  // 0: none
};

// Unicode's SpecialCasing.txt: characters whose title case is several. utf8proc maps one to one only.
constexpr std::array<TitleCase, 48> kLongTitleCases = {{
    {0x00DF, {0x0053, 0x0073, 0}},      {0x0149, {0x02BC, 0x004E, 0}},
    {0x01F0, {0x004A, 0x030C, 0}},      {0x0390, {0x0399, 0x0308, 0x0301}},
    {0x03B0, {0x03A5, 0x0308, 0x0301}}, {0x0587, {0x0535, 0x0582, 0}},
    {0x1E96, {0x0048, 0x0331, 0}},      {0x1E97, {0x0054, 0x0308, 0}},
    {0x1E98, {0x0057, 0x030A, 0}},      {0x1E99, {0x0059, 0x030A, 0}},
    {0x1E9A, {0x0041, 0x02BE, 0}},      {0x1F50, {0x03A5, 0x0313, 0}},
    {0x1F52, {0x03A5, 0x0313, 0x0300}}, {0x1F54, {0x03A5, 0x0313, 0x0301}},
    {0x1F56, {0x03A5, 0x0313, 0x0342}}, {0x1FB2, {0x1FBA, 0x0345, 0}},
    {0x1FB4, {0x0386, 0x0345, 0}},      {0x1FB6, {0x0391, 0x0342, 0}},
    {0x1FB7, {0x0391, 0x0342, 0x0345}}, {0x1FC2, {0x1FCA, 0x0345, 0}},
    {0x1FC4, {0x0389, 0x0345, 0}},      {0x1FC6, {0x0397, 0x0342, 0}},
    {0x1FC7, {0x0397, 0x0342, 0x0345}}, {0x1FD2, {0x0399, 0x0308, 0x0300}},
    {0x1FD3, {0x0399, 0x0308, 0x0301}}, {0x1FD6, {0x0399, 0x0342, 0}},
    {0x1FD7, {0x0399, 0x0308, 0x0342}}, {0x1FE2, {0x03A5, 0x0308, 0x0300}},
    {0x1FE3, {0x03A5, 0x0308, 0x0301}}, {0x1FE4, {0x03A1, 0x0313, 0}},
    {0x1FE6, {0x03A5, 0x0342, 0}},      {0x1FE7, {0x03A5, 0x0308, 0x0342}},
    {0x1FF2, {0x1FFA, 0x0345, 0}},      {0x1FF4, {0x038F, 0x0345, 0}},
    {0x1FF6, {0x03A9, 0x0342, 0}},      {0x1FF7, {0x03A9, 0x0342, 0x0345}},
    {0xFB00, {0x0046, 0x0066, 0}},      {0xFB01, {0x0046, 0x0069, 0}},
    {0xFB02, {0x0046, 0x006C, 0}},      {0xFB03, {0x0046, 0x0066, 0x0069}},
    {0xFB04, {0x0046, 0x0066, 0x006C}}, {0xFB05, {0x0053, 0x0074, 0}},
    {0xFB06, {0x0053, 0x0074, 0}},      {0xFB13, {0x0544, 0x0576, 0}},
    {0xFB14, {0x0544, 0x0565, 0}},      {0xFB15, {0x0544, 0x056B, 0}},
    {0xFB16, {0x054E, 0x0576, 0}},      {0xFB17, {0x0544, 0x056D, 0}},
}};

constexpr char32_t kCapitalSigma = 0x3A3, kSmallSigma = 0x3C3, kFinalSigma = 0x3C2;
constexpr char32_t kCapitalDottedI = 0x130, kDotAbove = 0x307;

// What Python's str.strip removes: White_Space and the four information separators.
bool IsStripped(char32_t c) {
  return IsWhiteSpace(c) || (c >= 0x1C && c <= 0x1F);
}

void Append(std::string& out, char32_t c) {
  std::array<utf8proc_uint8_t, 4> bytes{};
  const auto length = utf8proc_encode_char(static_cast<utf8proc_int32_t>(c), bytes.data());
  out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<size_t>(length));
}

utf8proc_category_t CategoryOf(char32_t c) {
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

// Unicode's Cased, but for the few letters that are no capitals and no small ones by category.
bool IsCased(char32_t c) {
  const utf8proc_category_t category = CategoryOf(c);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

// Unicode's Case_Ignorable: marks, modifiers and what may stand inside a word.
bool IsCaseIgnorable(char32_t c) {
  switch (CategoryOf(c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      constexpr std::u32string_view kInsideWords = U"'.:\u00B7\u0387\u055F\u05F4\u2018\u2019\u2024\u2027";
      return kInsideWords.find(c) != kInsideWords.npos;
  }
}

void AppendTitle(std::string& out, char32_t c) {
  const auto found = std::ranges::find(kLongTitleCases, c, &TitleCase::from);
  if (found == kLongTitleCases.end()) {
    Append(out, static_cast<char32_t>(utf8proc_totitle(static_cast<utf8proc_int32_t>(c))));
    return;
  }
  for (const char32_t part : found->to) {
    if (part != 0) Append(out, part);
  }
}

// A capital sigma ends a word where a cased letter stands before it and none behind.
bool EndsAWord(std::u32string_view text, size_t at) {
  size_t before = at;
  while (before > 0 && IsCaseIgnorable(text[before - 1])) --before;
  size_t behind = at + 1;
  while (behind < text.size() && IsCaseIgnorable(text[behind])) ++behind;
  return before > 0 && IsCased(text[before - 1]) && (behind == text.size() || !IsCased(text[behind]));
}

void AppendLower(std::string& out, std::u32string_view text, size_t at) {
  const char32_t c = text[at];
  if (c == kCapitalSigma) {
    Append(out, EndsAWord(text, at) ? kFinalSigma : kSmallSigma);
  } else if (c == kCapitalDottedI) {
    out += 'i';
    Append(out, kDotAbove);
  } else {
    Append(out, static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))));
  }
}

std::u32string CodePointsOf(std::string_view text) {
  std::u32string points;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = DecodeAt(text, i);
    points += c.value;
    i += c.length;
  }
  return points;
}

}  // namespace

size_t CodePointCount(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; }));
}

size_t RightStrippedLength(std::string_view text) {
  size_t length = text.size();
  while (length > 0) {
    size_t begin = length - 1;
    while (begin > 0 && (static_cast<uint8_t>(text[begin]) & 0xC0) == 0x80) --begin;
    const CodePoint c = Utf8Length(text.substr(begin, length - begin)) == length - begin
                            ? DecodeAt(text, begin)
                            : CodePoint{0, 0};
    if (!IsStripped(c.value)) break;
    length = begin;
  }
  return length;
}

std::string_view Strip(std::string_view text) {
  text = text.substr(0, RightStrippedLength(text));
  while (!text.empty()) {
    const CodePoint c = DecodeAt(text, 0);
    if (!IsStripped(c.value)) break;
    text.remove_prefix(c.length);
  }
  return text;
}

size_t SplitCount(std::string_view text) {
  size_t pieces = 1;
  bool in_run = false;
  for (size_t i = 0; i < text.size();) {
    const CodePoint c = DecodeAt(text, i);
    i += c.length;
    if (IsStripped(c.value) && !in_run) ++pieces;
    in_run = IsStripped(c.value);
  }
  return pieces;
}

std::string Capitalize(std::string_view text) {
  const std::u32string points = CodePointsOf(text);
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < points.size(); ++i) {
    if (i == 0) {
      AppendTitle(out, points[0]);
    } else {
      AppendLower(out, points, i);
    }
  }
  return out;
}

std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (size_t at = text.find(from); at != text.npos; at = text.find(from)) {
    out += text.substr(0, at);
    out += to;
    text.remove_prefix(at + from.size());
  }
  return out += text;
}

}  // namespace lowbit
