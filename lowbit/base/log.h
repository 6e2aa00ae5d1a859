// SPDX-License-Identifier: Apache-2.0
// Messages to the user on stderr. stdout belongs to results.
#pragma once

#include <string>
#include <string_view>

namespace lowbit {

enum class LogLevel : uint8_t { kQuiet, kNormal, kVerbose };

void SetLogLevel(LogLevel level);

void LogInfo(std::string_view message);    // hidden by --quiet
void LogDetail(std::string_view message);  // shown by --verbose
void LogWarning(std::string_view message);

// Colours and redrawn lines are for terminals, and not where NO_COLOR or TERM=dumb ask otherwise.
bool StderrIsTerminal();
bool ColorAllowed();

}  // namespace lowbit
