// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace lowbit {

std::string HumanBytes(uint64_t bytes);  // "8.14 MB", decimal units as disks and the hub count
// "4GB", "1.5 GiB", "800M", "123456": decimal units, and binary ones with an i. A unit without B is decimal.
// Throws Error{kUsage} for anything else.
uint64_t ParseBytes(std::string_view text);

std::string HumanCount(uint64_t count);    // "135 M"
std::string HumanSeconds(double seconds);  // "0.42 s", "12 s", "3:07", "1:02:33"

}  // namespace lowbit
