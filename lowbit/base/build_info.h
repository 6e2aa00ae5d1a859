// SPDX-License-Identifier: Apache-2.0
// Which lowbit this is: recorded with every result.
#pragma once

#include <string>

namespace lowbit {

std::string VersionText();  // "0.1.0"
// "0.1.0+1a2b3c4d5e6f": the commit; sources that differ from it add "-dirty-" and 8 digits of a hash.
std::string CodeVersion();
std::string CompilerText();  // "GCC 12.2.0"

std::string CpuName();  // "AMD EPYC 9654 96-Core Processor", as the kernel reports it; "unknown" otherwise

std::string UtcNow();  // "2026-01-31T12:34:56Z"

}  // namespace lowbit
