// SPDX-License-Identifier: Apache-2.0
// What Python's str methods do, where a reference written in Python uses them on texts. Valid UTF-8 only.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace lowbit {

// len(text): Unicode code points.
size_t CodePointCount(std::string_view text);

// Length in bytes of text.rstrip(): without Unicode's White_Space and U+001C to U+001F at the end. Stops at
// what is not UTF-8.
size_t RightStrippedLength(std::string_view text);

// text.strip().
std::string_view Strip(std::string_view text);

// len(re.split(r"\s+", text)): runs of what Strip removes, and one.
size_t SplitCount(std::string_view text);

// text.capitalize(): the first character in title case, all others in lower case, by Unicode's full mappings
// ("ß" begins as "Ss", a capital sigma at a word's end becomes "ς").
std::string Capitalize(std::string_view text);

// text.replace(from, to), one pass from the left. `from` is not empty.
std::string ReplaceAll(std::string_view text, std::string_view from, std::string_view to);

}  // namespace lowbit
