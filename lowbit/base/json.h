// SPDX-License-Identifier: Apache-2.0
// Strict JSON: UTF-8, no duplicate keys, bounded depth, errors with file and byte offset.
#pragma once

#include <nlohmann/json.hpp>

#include <string_view>

#include "lowbit/base/error.h"

namespace lowbit {

using Json = nlohmann::ordered_json;  // keeps the file's order

struct JsonLimits {
  size_t max_bytes = size_t{64} << 20;
  size_t max_depth = 64;
};

// Parses one whole document. Throws Error{kContent} naming `place` and the byte offset.
Json ParseJson(std::string_view text, const Place& place, JsonLimits limits = {});

// Reads and parses a file. Throws Error{kMissing} or Error{kContent}.
Json ReadJsonFile(const std::string& path, JsonLimits limits = {});

// "object", "array", "string", "number", … for messages.
std::string_view JsonKind(const Json& value);

// A short printable form of `value` for messages: "64.5", "\"relu\"", "an object".
std::string JsonPreview(const Json& value);

}  // namespace lowbit
