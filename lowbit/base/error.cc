// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/error.h"

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

std::string Printable(std::string_view text, size_t limit) {
  std::string out;
  size_t i = 0;
  while (i < text.size()) {
    if (out.size() >= limit) return out + "…";
    const size_t length = Utf8Length(text.substr(i));
    const auto byte = static_cast<unsigned char>(text[i]);
    if (length == 0 || byte < 0x20 || byte == 0x7F) {
      out += fmt::format("\\x{:02x}", byte);
      ++i;
    } else {
      out += text.substr(i, length);
      i += length;
    }
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
  const std::string where = place_.Text();
  std::string text = where.empty() ? message_ : where + ": " + message_;
  if (!hint_.empty()) text += " (hint: " + hint_ + ")";
  text_ = Printable(text, 2000);
}

void AssertFailed(const char* condition, const char* file, int line) {
  throw Error(ErrorKind::kInternal, Place(file).Line(static_cast<size_t>(line)),
              fmt::format("assertion failed: {}", condition))
      .Hint("this is a bug in lowbit; please report it with the command you ran");
}

}  // namespace lowbit
