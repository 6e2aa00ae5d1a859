// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/json_reader.h"

#include <algorithm>
#include <charconv>

#include "lowbit/base/utf8.h"

namespace lowbit {
namespace {

bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

void AppendUtf8(std::string& out, uint32_t code) {
  const auto tail = [&](int shift) { out += static_cast<char>(0x80 | ((code >> shift) & 0x3F)); };
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xC0 | (code >> 6));
    tail(0);
  } else if (code < 0x10000) {
    out += static_cast<char>(0xE0 | (code >> 12));
    tail(6);
    tail(0);
  } else {
    out += static_cast<char>(0xF0 | (code >> 18));
    tail(12);
    tail(6);
    tail(0);
  }
}

}  // namespace

std::optional<uint64_t> ParseUnsigned(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

void JsonReader::Fail(size_t at, std::string message) const {
  throw Error(ErrorKind::kContent, place_.Byte(first_byte_ + at), std::move(message));
}

void JsonReader::FailFound(std::string_view expected) {
  if (at_ >= text_.size()) Fail(at_, fmt::format("the JSON text ends here, expected {}", expected));
  const size_t length = Utf8Length(text_.substr(at_));
  if (length == 0) Fail(at_, fmt::format("not valid UTF-8, expected {}", expected));
  Fail(at_, fmt::format("found '{}', expected {}", Printable(text_.substr(at_, length)), expected));
}

char JsonReader::SkipWhiteSpace() {
  const size_t start = at_;
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c != ' ' && c != '\n' && c != '\t' && c != '\r') return c;
    ++at_;
    if (at_ - start > kMaxWhiteSpace) {
      Fail(start, fmt::format("more than {} bytes of white space, expected JSON", kMaxWhiteSpace));
    }
  }
  return '\0';  // also for a NUL byte, which no caller accepts
}

void JsonReader::Expect(char c, std::string_view expected) {
  if (SkipWhiteSpace() != c) FailFound(expected);
  ++at_;
}

JsonReader::Type JsonReader::Peek() {
  const char c = SkipWhiteSpace();
  switch (c) {
    case '{':
      return Type::kObject;
    case '[':
      return Type::kArray;
    case '"':
      return Type::kString;
    case 't':
    case 'f':
      return Type::kBoolean;
    case 'n':
      return Type::kNull;
    default:
      break;
  }
  if (c != '-' && !IsDigit(c)) FailFound("a JSON value");
  return Type::kNumber;
}

std::string JsonReader::PreviewAt(size_t position) const {
  constexpr size_t kShown = 40;
  const std::string_view rest = text_.substr(std::min(position - first_byte_, text_.size()));
  if (rest.starts_with('{')) return "an object";
  const bool is_string = rest.starts_with('"'), is_array = rest.starts_with('[');
  size_t end = rest.find_first_of(is_string ? "\"" : is_array ? "]" : ",}] \n\t\r", 1);
  end = end == std::string_view::npos ? rest.size() : end + (is_string || is_array ? 1 : 0);
  return Printable(rest.substr(0, std::min(end, kShown))) + (end > kShown ? "…" : "");
}

void JsonReader::BeginObject() {
  Expect('{', "an object");
  first_ = true;
}

void JsonReader::BeginArray() {
  Expect('[', "a list");
  first_ = true;
}

// Moves to the next member of the innermost object or array; false, and past `end`, when it has none.
bool JsonReader::Next(char end, std::string_view expected) {
  const bool first = first_;
  first_ = false;
  if (SkipWhiteSpace() == end) {
    ++at_;
    return false;
  }
  if (!first) Expect(',', expected);
  return true;
}

bool JsonReader::NextElement() {
  return Next(']', "',' or ']'");
}

bool JsonReader::NextKey(std::string& key, size_t max_bytes) {
  if (!Next('}', "',' or '}'")) return false;
  if (SkipWhiteSpace() != '"') FailFound("a key in quotes");
  key = String(max_bytes);
  Expect(':', "':'");
  return true;
}

uint32_t JsonReader::HexDigits() {
  uint32_t value = 0;
  const char* begin = text_.data() + at_;
  if (text_.size() - at_ < 4 || std::from_chars(begin, begin + 4, value, 16).ptr != begin + 4) {
    Fail(at_, "expected four hexadecimal digits after \\u");
  }
  at_ += 4;
  return value;
}

// at_ is behind a backslash.
void JsonReader::AppendEscape(std::string& out) {
  const size_t start = at_ - 1;
  const char c = at_ < text_.size() ? text_[at_++] : '\0';
  constexpr std::string_view kLetters = "\"\\/bfnrt", kMeanings = "\"\\/\b\f\n\r\t";
  if (const size_t i = kLetters.find(c); i != std::string_view::npos) {
    out += kMeanings[i];
    return;
  }
  if (c != 'u') Fail(start, "unknown escape in a string, expected one of JSON's");
  uint32_t code = HexDigits();
  if (code >= 0xD800 && code < 0xDC00 && text_.substr(at_).starts_with("\\u")) {
    at_ += 2;
    const uint32_t low = HexDigits();
    if (low < 0xDC00 || low > 0xDFFF) Fail(start, "lone surrogate in a string, expected a pair");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  } else if (code >= 0xD800 && code <= 0xDFFF) {
    Fail(start, "lone surrogate in a string, expected a pair");
  }
  AppendUtf8(out, code);
}

std::string JsonReader::String(size_t max_bytes) {
  Expect('"', "a string");
  const size_t start = at_ - 1;
  std::string out;
  for (;;) {
    const size_t run = at_;
    while (at_ < text_.size() && text_[at_] != '"' && text_[at_] != '\\') {
      const auto byte = static_cast<unsigned char>(text_[at_]);
      if (byte < 0x20) Fail(at_, fmt::format("control character \\x{:02x} in a string", byte));
      const size_t length = byte < 0x80 ? 1 : Utf8Length(text_.substr(at_));
      if (length == 0) Fail(at_, "not valid UTF-8, expected a JSON text in UTF-8");
      at_ += length;
      if (at_ - run > max_bytes) break;
    }
    out += text_.substr(run, at_ - run);
    if (out.size() > max_bytes) Fail(start, fmt::format("a string of more than {} bytes", max_bytes));
    if (at_ >= text_.size()) Fail(start, "a string without end");
    if (text_[at_++] == '"') break;
    AppendEscape(out);
  }
  first_ = false;
  return out;
}

std::string_view JsonReader::Number() {
  const char c = SkipWhiteSpace();
  if (c != '-' && !IsDigit(c)) FailFound("a number");
  const size_t start = at_;
  const auto digits = [&] {
    if (at_ >= text_.size() || !IsDigit(text_[at_])) FailFound("a digit");
    while (at_ < text_.size() && IsDigit(text_[at_])) {
      if (++at_ - start > kMaxNumber)
        Fail(start, fmt::format("a number of more than {} characters", kMaxNumber));
    }
  };
  const auto take = [&](std::string_view any_of) {
    const bool found = at_ < text_.size() && any_of.find(text_[at_]) != std::string_view::npos;
    at_ += found ? 1 : 0;
    return found;
  };
  take("-");
  if (!take("0")) digits();
  if (take(".")) digits();
  if (take("eE")) {
    take("+-");
    digits();
  }
  first_ = false;
  return text_.substr(start, at_ - start);
}

void JsonReader::Literal(std::string_view word) {
  if (!text_.substr(at_).starts_with(word)) FailFound("a JSON value");
  at_ += word.size();
  first_ = false;
}

void JsonReader::Skip() {
  SkipNested(1);
}

void JsonReader::SkipNested(size_t depth) {
  const Type type = Peek();
  if (depth > kMaxDepth) Fail(at_, fmt::format("nested deeper than {} levels", kMaxDepth));
  std::string key;
  switch (type) {
    case Type::kObject:
      BeginObject();
      while (NextKey(key)) SkipNested(depth + 1);
      return;
    case Type::kArray:
      BeginArray();
      while (NextElement()) SkipNested(depth + 1);
      return;
    case Type::kString:
      String();
      return;
    case Type::kNumber:
      Number();
      return;
    case Type::kBoolean:
      Literal(text_[at_] == 't' ? "true" : "false");
      return;
    case Type::kNull:
      Literal("null");
      return;
  }
}

void JsonReader::End() {
  SkipWhiteSpace();
  if (at_ < text_.size()) FailFound("the end of the JSON text");
}

}  // namespace lowbit
