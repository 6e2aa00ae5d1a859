// SPDX-License-Identifier: Apache-2.0
// Numbers as people read them.
#pragma once

#include <cstdint>
#include <string>

namespace lowbit {

std::string HumanBytes(uint64_t bytes);    // "8.14 MB", decimal units as disks and the hub count
std::string HumanCount(uint64_t count);    // "135 M"
std::string HumanSeconds(double seconds);  // "0.42 s", "12 s", "3:07", "1:02:33"

}  // namespace lowbit
