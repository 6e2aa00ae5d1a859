// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/text_file.h"

#include <algorithm>
#include <array>
#include <vector>

#include "lowbit/base/files.h"
#include "lowbit/base/mapped_file.h"
#include "lowbit/base/utf8.h"

namespace lowbit {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

using JsonLineVisitor = std::function<bool(size_t line, const Json& object)>;

// `callback` until the end.
JsonLineVisitor Always(const JsonLineCallback& callback) {
  return [&callback](size_t line, const Json& object) {
    callback(line, object);
    return true;
  };
}

// Takes raw lines, in order, and passes objects on.
class JsonLines {
 public:
  JsonLines(Place file, const JsonLineVisitor& callback, JsonLineLimits limits)
      : file_(std::move(file)), callback_(callback), limits_(limits) {}

  // `line` without its LF. Returns whether to go on.
  bool Add(std::string_view line) {
    ++number_;
    CheckLength(line.size());
    if (line.starts_with(kByteOrderMark)) line.remove_prefix(kByteOrderMark.size());
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == line.npos) return true;
    const Place place = file_.Line(number_);
    const Json value =
        ParseJson(line, place, {.max_bytes = limits_.max_line_bytes, .max_depth = limits_.max_depth});
    if (!value.is_object()) {
      throw Error(ErrorKind::kContent, place, fmt::format("is {}, expected an object", JsonPreview(value)));
    }
    return callback_(number_, value);
  }

  // All lines that end in `part`, the first one begun before; keeps what is left of it in `begun`.
  bool AddPart(std::string_view part, std::string& begun) {
    for (size_t end = part.find('\n'); end != part.npos; end = part.find('\n')) {
      CheckCollected(begun.size() + end);
      begun += part.substr(0, end);
      if (!Add(begun)) return false;
      begun.clear();
      part.remove_prefix(end + 1);
    }
    CheckCollected(begun.size() + part.size());
    begun += part;
    return true;
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
  const JsonLineVisitor& callback_;
  JsonLineLimits limits_;
  size_t number_ = 0;
};

std::string_view AsText(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

void VisitText(std::string_view rest, JsonLines& lines, JsonLineLimits limits) {
  while (!rest.empty()) {
    // Not farther than a line may be: the rest of a hostile file stays unread.
    const std::string_view reach = rest.substr(0, limits.max_line_bytes + 1);
    const size_t end = std::min(reach.find('\n'), reach.size());
    if (!lines.Add(rest.substr(0, end))) return;
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
}

// What is wrong with a line, damage to the archive may have caused: then that is what is to be said. Reads on
// for a while, because a checksum stands at the end.
void RequireSoundArchive(ArchiveReader& archive) {
  constexpr size_t kFarEnough = size_t{1} << 28;
  std::vector<char> part(size_t{1} << 18);
  for (size_t read = 0; read < kFarEnough; read += part.size()) {
    if (archive.Read(part) < part.size()) return;
  }
}

void VisitArchive(ArchiveReader& archive, JsonLines& lines) {
  const auto checked = [&](const auto& work) {
    try {
      return work();
    } catch (const Error&) {
      RequireSoundArchive(archive);
      throw;
    }
  };
  std::vector<char> part(size_t{1} << 16);
  std::string begun;  // a line whose end is not there yet
  for (size_t got = part.size(); got == part.size();) {
    got = archive.Read(part);
    const bool goes_on = checked([&] { return lines.AddPart({part.data(), got}, begun); });
    if (!goes_on) return;
  }
  if (!begun.empty()) checked([&] { return lines.Add(begun); });
}

void VisitFile(const std::string& path, const JsonLineVisitor& callback, JsonLineLimits limits) {
  const MappedFile file(path);
  ReadIntact(file, [&](std::span<const std::byte> bytes) {
    JsonLines lines(Place(path), callback, limits);
    if (const Compression compression = CompressionOf(path); compression != Compression::kNone) {
      ArchiveReader archive(bytes, compression, Place(path));
      VisitArchive(archive, lines);
    } else {
      VisitText(AsText(bytes), lines, limits);
    }
    return true;
  });
}

std::string ReadArchive(const std::string& path, Compression compression, size_t max_bytes) {
  const MappedFile file(path);
  return ReadIntact(file, [&](std::span<const std::byte> bytes) {
    const Place place(path);
    const size_t length = TextBytesOf(bytes, compression, place, max_bytes);
    if (length > max_bytes) {
      throw Error(ErrorKind::kContent, place,
                  fmt::format("more than {0} bytes of text, expected at most {0}", max_bytes));
    }
    std::string text(length, '\0');
    ArchiveReader reader(bytes, compression, place);
    text.resize(reader.Read(text));
    return text;
  });
}

}  // namespace

void ForEachJsonLine(const std::string& path, const JsonLineCallback& callback, JsonLineLimits limits) {
  VisitFile(path, Always(callback), limits);
}

void ForEachJsonLineWhile(const std::string& path, const JsonLineVisitor& callback, JsonLineLimits limits) {
  VisitFile(path, callback, limits);
}

bool IsJsonLinesName(std::string_view path) {
  const std::string_view name = WithoutCompression(path);
  return name.ends_with(".jsonl") || name.ends_with(".json");
}

void ForEachJsonLineIn(std::string_view text, const Place& file, const JsonLineCallback& callback,
                       JsonLineLimits limits) {
  const JsonLineVisitor visitor = Always(callback);
  JsonLines lines(file, visitor, limits);
  VisitText(text, lines, limits);
}

void ForEachJsonLineIn(std::span<const std::byte> archive, Compression compression, const Place& file,
                       const JsonLineCallback& callback, JsonLineLimits limits) {
  const JsonLineVisitor visitor = Always(callback);
  JsonLines lines(file, visitor, limits);
  ArchiveReader reader(archive, compression, file);
  VisitArchive(reader, lines);
}

void ForEachJsonLine(std::istream& stream, const std::string& name, const JsonLineCallback& callback,
                     JsonLineLimits limits) {
  const JsonLineVisitor visitor = Always(callback);
  JsonLines lines(Place(name), visitor, limits);
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
  const Compression compression = CompressionOf(path);
  std::string text = compression == Compression::kNone ? ReadFile(path, max_bytes)
                                                       : ReadArchive(path, compression, max_bytes);
  if (const size_t bad = FirstInvalidUtf8(text); bad != text.npos) {
    throw Error(ErrorKind::kContent, Place(path).Byte(bad), "not valid UTF-8, expected a text file in UTF-8");
  }
  if (text.starts_with(kByteOrderMark)) text.erase(0, kByteOrderMark.size());
  return text;
}

}  // namespace lowbit
