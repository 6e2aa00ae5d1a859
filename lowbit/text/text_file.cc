// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/text_file.h"

#include <algorithm>
#include <array>

#include "lowbit/base/files.h"
#include "lowbit/base/mapped_file.h"
#include "lowbit/base/utf8.h"

namespace lowbit {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Takes raw lines, in order, and passes objects on.
class JsonLines {
 public:
  JsonLines(Place file, const JsonLineCallback& callback, JsonLineLimits limits)
      : file_(std::move(file)), callback_(callback), limits_(limits) {}

  // `line` without its LF.
  void Add(std::string_view line) {
    ++number_;
    CheckLength(line.size());
    if (line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == line.npos) return;
    const Place place = file_.Line(number_);
    const Json value =
        ParseJson(line, place, {.max_bytes = limits_.max_line_bytes, .max_depth = limits_.max_depth});
    if (!value.is_object()) {
      throw Error(ErrorKind::kContent, place, fmt::format("is {}, expected an object", JsonPreview(value)));
    }
    callback_(number_, value);
  }

  // For the line that is being collected, so that the limit holds before it is in memory.
  void CheckCollected(size_t bytes) const { CheckLengthOf(number_ + 1, bytes); }

 private:
  void CheckLength(size_t bytes) const { CheckLengthOf(number_, bytes); }
  void CheckLengthOf(size_t number, size_t bytes) const {
    if (bytes <= limits_.max_line_bytes) return;
    throw Error(ErrorKind::kContent, file_.Line(number),
                fmt::format("is longer than {} bytes, the limit of a line", limits_.max_line_bytes));
  }

  Place file_;
  const JsonLineCallback& callback_;
  JsonLineLimits limits_;
  size_t number_ = 0;
};

}  // namespace

void ForEachJsonLine(const std::string& path, const JsonLineCallback& callback, JsonLineLimits limits) {
  const MappedFile file(path);
  ReadIntact(file, [&](std::span<const std::byte> bytes) {
    const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    ForEachJsonLineIn(text, Place(path), callback, limits);
    return true;
  });
}

void ForEachJsonLineIn(std::string_view text, const Place& file, const JsonLineCallback& callback,
                       JsonLineLimits limits) {
  std::string_view rest = text;
  JsonLines lines(file, callback, limits);
  while (!rest.empty()) {
    // Not farther than a line may be: the rest of a hostile file stays unread.
    const std::string_view reach = rest.substr(0, limits.max_line_bytes + 1);
    const size_t end = std::min(reach.find('\n'), reach.size());
    lines.Add(rest.substr(0, end));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

void ForEachJsonLine(std::istream& stream, const std::string& name, const JsonLineCallback& callback,
                     JsonLineLimits limits) {
  JsonLines lines(Place(name), callback, limits);
  std::array<char, 1 << 16> part;
  std::string line;
  while (true) {
    // Reads up to the next LF, which it drops; fails when the part is full before one came.
    stream.getline(part.data(), part.size());
    const auto count = static_cast<size_t>(stream.gcount());
    const bool part_full = stream.fail() && count + 1 == part.size();
    if (stream.bad() || (stream.fail() && !stream.eof() && !part_full)) {
      throw Error(ErrorKind::kResource, Place(name), "cannot read");
    }
    const bool line_ended = !part_full && !stream.eof();
    line.append(part.data(), line_ended ? count - 1 : count);
    lines.CheckCollected(line.size());
    if (part_full) {
      stream.clear(stream.rdstate() & ~std::ios::failbit);
    } else if (line_ended) {
      lines.Add(line);
      line.clear();
    } else {
      if (!line.empty()) lines.Add(line);
      return;
    }
  }
}

const std::string& RequireString(const Json& object, const std::string& key, const Place& place) {
  const auto member = object.find(key);
  if (member == object.end()) throw Error(ErrorKind::kContent, place, fmt::format("has no key '{}'", key));
  if (!member->is_string()) {
    throw Error(ErrorKind::kContent, place.Key(key),
                fmt::format("is {}, expected a string", JsonPreview(*member)));
  }
  return member->get_ref<const std::string&>();
}

std::string ReadTextFile(const std::string& path, size_t max_bytes) {
  std::string text = ReadFile(path, max_bytes);
  if (const size_t bad = FirstInvalidUtf8(text); bad != text.npos) {
    throw Error(ErrorKind::kContent, Place(path).Byte(bad), "not valid UTF-8, expected a text file in UTF-8");
  }
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  return text;
}

}  // namespace lowbit
