// SPDX-License-Identifier: Apache-2.0
// The JSON header of a safetensors file, entry by entry. Used by safetensors*.cc only.
#pragma once

#include <string>
#include <string_view>

#include "lowbit/checkpoint/safetensors.h"

namespace lowbit {

inline constexpr uint64_t kLengthBytes = 8;  // a file begins with its header's length, little-endian

// Parses the header's text. Every entry is sound by itself afterwards: known type, size equal to what type
// and shape need, name there once. In the text's order; how the tensors lie in the data is not checked here.
// Throws Error{kContent} naming the tensor or the byte.
SafetensorsHeader ParseHeaderText(std::string_view json, const Place& place);

// The inverse, with the length in front: the bytes of a file up to its data. Names are UTF-8; `path` is for
// the message when one is not, which is a mistake of the caller.
std::string HeaderBytes(const SafetensorsHeader& header, const std::string& path);

}  // namespace lowbit
