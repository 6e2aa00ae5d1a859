// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>

#include "lowbit/base/error.h"
#include "lowbit/base/progress.h"

namespace lowbit {
namespace {

spdlog::logger& Logger() {
  static const std::shared_ptr<spdlog::logger> logger = [] {
    auto sink = std::make_shared<spdlog::sinks::stderr_color_sink_mt>(
        ColorAllowed() ? spdlog::color_mode::automatic : spdlog::color_mode::never);
    auto made = std::make_shared<spdlog::logger>("lowbit", sink);
    made->set_pattern("%^%v%$");
    made->flush_on(spdlog::level::trace);
    return made;
  }();
  return *logger;
}

void Say(spdlog::level::level_enum level, std::string_view prefix, std::string_view message) {
  Progress::ClearLine();
  Logger().log(level, "{}{}", prefix, Printable(message, 4000));
}

}  // namespace

void SetLogLevel(LogLevel level) {
  Logger().set_level(level == LogLevel::kQuiet    ? spdlog::level::warn
                     : level == LogLevel::kNormal ? spdlog::level::info
                                                  : spdlog::level::debug);
}

void LogInfo(std::string_view message) {
  Say(spdlog::level::info, "", message);
}
void LogDetail(std::string_view message) {
  Say(spdlog::level::debug, "", message);
}
void LogWarning(std::string_view message) {
  Say(spdlog::level::warn, "warning: ", message);
}

bool StderrIsTerminal() {
  const char* term = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && (term == nullptr || std::strcmp(term, "dumb") != 0);
}

bool ColorAllowed() {
  const char* no_color = std::getenv("NO_COLOR");
  return StderrIsTerminal() && (no_color == nullptr || *no_color == '\0');
}

}  // namespace lowbit
