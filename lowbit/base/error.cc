// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/error.h"

#include <algorithm>

#include "lowbit/base/utf8.h"

namespace lowbit {

std::string_view Name(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInternal:
      return "internal";
    case ErrorKind::kUsage:
      return "usage";
    case ErrorKind::kContent:
      return "content";
    case ErrorKind::kMissing:
      return "missing";
    case ErrorKind::kResource:
      return "resource";
    case ErrorKind::kConflict:
      return "conflict";
    case ErrorKind::kNumeric:
      return "numeric";
    case ErrorKind::kNetwork:
      return "network";
  }
  return "unknown";
}

namespace {

// Characters that move the cursor, end a line or turn the direction of text: C0, DEL, C1 (U+0080 to U+009F),
// U+2028 to U+202E and U+2066 to U+2069. `character` is one well-formed UTF-8 sequence.
bool IsControl(std::string_view character) {
  const auto at = [&](size_t i) { return static_cast<unsigned char>(character[i]); };
  if (character.size() == 1) return at(0) < 0x20 || at(0) == 0x7F;
  if (character.size() == 2) return at(0) == 0xC2 && at(1) < 0xA0;
  if (character.size() != 3 || at(0) != 0xE2) return false;
  return (at(1) == 0x80 && at(2) >= 0xA8 && at(2) <= 0xAE) ||
         (at(1) == 0x81 && at(2) >= 0xA6 && at(2) <= 0xA9);
}

}  // namespace

std::string Printable(std::string_view text, size_t limit) {
  std::string out;
  size_t i = 0;
  while (i < text.size()) {
    if (out.size() >= limit) return out + "…";
    const size_t length = std::max<size_t>(Utf8Length(text.substr(i)), 1);
    const std::string_view character = text.substr(i, length);
    if (Utf8Length(character) == 0 || IsControl(character)) {
      for (const char c : character) out += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    } else {
      out += character;
    }
    i += length;
  }
  return out;
}

Place Place::Item(std::string item) const {
  Place place(*this);
  place.item_ = item_.empty() ? std::move(item) : item_ + ": " + item;
  return place;
}

std::string Place::Text() const {
  if (file_.empty()) return item_;
  return item_.empty() ? file_ : file_ + ": " + item_;
}

Error::Error(ErrorKind kind, Place place, std::string message)
    : kind_(kind), place_(std::move(place)), message_(std::move(message)) {
  Compose();
}

Error& Error::Hint(std::string hint) {
  hint_ = std::move(hint);
  Compose();
  return *this;
}

void Error::Compose() {
  constexpr size_t kMaxPlace =
      5000;  // a path may have 4096 bytes, and the message must not be cut off behind it
  const std::string where = place_.Text();
  text_ = where.empty() ? "" : Printable(where, kMaxPlace) + ": ";
  text_ += Printable(hint_.empty() ? message_ : message_ + " (hint: " + hint_ + ")", 2000);
}

void AssertFailed(const char* condition, const char* file, int line) {
  throw Error(ErrorKind::kInternal, Place(file).Line(static_cast<size_t>(line)),
              fmt::format("assertion failed: {}", condition))
      .Hint("this is a bug in lowbit; please report it with the command you ran");
}

}  // namespace lowbit
