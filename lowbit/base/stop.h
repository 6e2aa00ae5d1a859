// SPDX-License-Identifier: Apache-2.0
// Ending early when the system or the user asks for it (SIGINT, SIGTERM, SIGHUP, a closed pipe).
//
// The first request sets a flag; loops of work look at it and leave by an exception, so that files under way
// are dropped and locks released as after any error. A second request ends the process at once: files are
// atomic, so nothing is lost but the work since the last one.
#pragma once

#include <string_view>

namespace lowbit {

// Thrown by ThrowIfStopped. Not an Error and no std::exception: whoever turns errors into something else (a
// failed row, a warning) must not do that to a request to stop.
struct Stopped {
  int signal = 0;
};

// Catches the four signals from now on, but those that the parent process chose to ignore (nohup).
void InstallStopHandlers();

// The signal that asked to stop; 0 when none did.
int StopSignal() noexcept;

// Cheap enough for every piece of work. Any thread may call it, but no destructor.
void ThrowIfStopped();

// "SIGTERM" for 15.
std::string_view SignalName(int signal);

}  // namespace lowbit
