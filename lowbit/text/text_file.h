// SPDX-License-Identifier: Apache-2.0
// Raw text files and JSON Lines, plain or compressed, with the line or the byte in every error: that of the
// text, and of an archive that is cut or damaged its own (archive.h).
#pragma once

#include <cstddef>
#include <functional>
#include <istream>
#include <span>
#include <string>
#include <string_view>

#include "lowbit/base/json.h"
#include "lowbit/text/archive.h"

namespace lowbit {

struct JsonLineLimits {
  size_t max_line_bytes = size_t{32} << 20;
  size_t max_depth = 64;
};

// `line` counts from 1.
using JsonLineCallback = std::function<void(size_t line, const Json& object)>;

// Calls `callback` for every object of a JSON Lines text: one object per line, in UTF-8. Byte order marks
// at the start of lines, CR LF line ends, lines of nothing but white space and a last line without an end are
// accepted. A file whose name ends with ".gz" or ".zst" is read as such, piece by piece. Throws Error{kContent} naming the line (and the byte in it) for everything else: what is not
// JSON, or is no object, or two on a line, an over-long line, a NUL byte.
void ForEachJsonLine(const std::string& path, const JsonLineCallback& callback, JsonLineLimits limits = {});

// The same until `callback` returns false: what follows is not looked at, and may hold anything.
void ForEachJsonLineWhile(const std::string& path,
                          const std::function<bool(size_t line, const Json& object)>& callback,
                          JsonLineLimits limits = {});

// Whether a file of this name holds JSON Lines: ".jsonl", and ".json" as C4 names its parts, then perhaps the
// end of an archive's name.
bool IsJsonLinesName(std::string_view path);

// The same for a text in memory; `file` is for messages.
void ForEachJsonLineIn(std::string_view text, const Place& file, const JsonLineCallback& callback,
                       JsonLineLimits limits = {});

// The same for an archive in memory.
void ForEachJsonLineIn(std::span<const std::byte> archive, Compression compression, const Place& file,
                       const JsonLineCallback& callback, JsonLineLimits limits = {});

// The same for a stream, line by line as it comes; `name` is for messages.
void ForEachJsonLine(std::istream& stream, const std::string& name, const JsonLineCallback& callback,
                     JsonLineLimits limits = {});

// Member `key` of `object`, which must be a string. Throws Error{kContent} at `place`.
const std::string& RequireString(const Json& object, const std::string& key, const Place& place);

// A whole text file. A byte order mark at its start is dropped: it says "this is UTF-8" and is not text.
// Line ends stay as they are. An archive (".gz", ".zst") is read twice, first for the length of its text.
// Throws Error{kContent} with the offset in the text of the first byte that is not valid UTF-8, and when the
// text is larger than `max_bytes`, before it is held in memory.
std::string ReadTextFile(const std::string& path, size_t max_bytes = size_t{1} << 29);

}  // namespace lowbit
