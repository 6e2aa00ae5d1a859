// SPDX-License-Identifier: Apache-2.0
// Raw text files and JSON Lines, with the line or the byte in every error.
#pragma once

#include <cstddef>
#include <functional>
#include <istream>
#include <string>
#include <string_view>

#include "lowbit/base/json.h"

namespace lowbit {

struct JsonLineLimits {
  size_t max_line_bytes = size_t{32} << 20;
  size_t max_depth = 64;
};

// `line` counts from 1.
using JsonLineCallback = std::function<void(size_t line, const Json& object)>;

// Calls `callback` for every object of a JSON Lines text: one object per line, in UTF-8. Byte order marks
// at the start of lines, CR LF line ends, lines of nothing but white space and a last line without an end are
// accepted. Throws Error{kContent} naming the line (and the byte in it) for everything else: what is not
// JSON, or is no object, or two on a line, an over-long line, a NUL byte.
void ForEachJsonLine(const std::string& path, const JsonLineCallback& callback, JsonLineLimits limits = {});

// The same for a text in memory; `file` is for messages.
void ForEachJsonLineIn(std::string_view text, const Place& file, const JsonLineCallback& callback,
                       JsonLineLimits limits = {});

// The same for a stream, line by line as it comes; `name` is for messages.
void ForEachJsonLine(std::istream& stream, const std::string& name, const JsonLineCallback& callback,
                     JsonLineLimits limits = {});

// Member `key` of `object`, which must be a string. Throws Error{kContent} at `place`.
const std::string& RequireString(const Json& object, const std::string& key, const Place& place);

// A whole text file. A byte order mark at its start is dropped: it says "this is UTF-8" and is not text.
// Line ends stay as they are. Throws Error{kContent} with the offset in the file of the first byte that is
// not valid UTF-8, and when the file is larger than `max_bytes`.
std::string ReadTextFile(const std::string& path, size_t max_bytes = size_t{1} << 29);

}  // namespace lowbit
