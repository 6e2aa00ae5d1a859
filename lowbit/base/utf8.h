// SPDX-License-Identifier: Apache-2.0
// UTF-8 checking, strict (no overlong forms, no surrogates, nothing above U+10FFFF).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lowbit {

// Length in bytes of the well-formed sequence that `text` begins with; 0 when it begins with none.
size_t Utf8Length(std::string_view text);

// Offset of the first byte that is not part of a well-formed sequence; npos when `text` is valid.
size_t FirstInvalidUtf8(std::string_view text);

// Replaces ill-formed bytes by U+FFFD, one per maximal subpart (Unicode 15, section 3.9; what
// Python's errors="replace" and Rust's from_utf8_lossy do).
std::string ReplaceInvalidUtf8(std::string_view text);

}  // namespace lowbit
