// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <cstdio>
#include <new>
#include <string_view>
#include <system_error>

#include "lowbit/base/build_info.h"
#include "lowbit/base/error.h"
#include "lowbit/base/json.h"
#include "lowbit/base/log.h"
#include "lowbit/base/memory.h"
#include "lowbit/base/progress.h"
#include "lowbit/base/stop.h"
#include "lowbit/cli/commands.h"

namespace lowbit {
namespace {

// stderr may be closed or full, and there is nowhere left to say so.
void PrintError(const std::string& line) {
  Progress::ClearLine();
  std::fputs((line + "\n").c_str(), stderr);
}

std::string JsonLine(Json fields) {
  return Json{{"error", std::move(fields)}}.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// `goes_on`: the same command does the rest when it is given again.
int ReportStop(int signal, bool goes_on, bool as_json) {
  const int exit_code = 128 + signal;
  if (signal == SIGPIPE) return exit_code;  // the reader left; nobody is there to be told
  const std::string_view hint = goes_on ? "run the same command again to go on" : "";
  if (as_json) {
    PrintError(JsonLine(
        {{"kind", "stopped"}, {"exit_code", exit_code}, {"signal", SignalName(signal)}, {"hint", hint}}));
  } else {
    PrintError(fmt::format("stopped by {}{}{}", SignalName(signal), hint.empty() ? "" : "; ", hint));
  }
  return exit_code;
}

// One line for people; with --json the same as an object, for programs.
int Report(const Error& error, bool as_json) {
  if (as_json) {
    PrintError(JsonLine({{"kind", Name(error.kind())},
                         {"exit_code", ExitCode(error.kind())},
                         {"file", error.place().file()},
                         {"place", error.place().item()},
                         {"message", error.message()},
                         {"hint", error.hint()}}));
  } else {
    PrintError(fmt::format("error: {}", error.what()));
  }
  return ExitCode(error.kind());
}

// What is left in the buffers may be what does not fit on the disk.
void FlushStdout() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return;
  throw Error(ErrorKind::kResource, Place("standard output"), "cannot write");
}

// CLI11 would say that a command is missing where one is misspelt.
void RequireKnownCommand(const CLI::App& app, int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.starts_with('-')) continue;
    std::string known;
    for (const CLI::App* command : app.get_subcommands({})) {
      if (command->get_name() == word) return;
      known += (known.empty() ? "" : ", ") + command->get_name();
    }
    throw Error(ErrorKind::kUsage,
                fmt::format("command '{}' is not known; commands: {}", Printable(word), known));
  }
}

// Throws Error or Stopped, whatever the command throws.
int RunCommand(CLI::App& app, int argc, char** argv, const int& exit_code) {
  try {
    RequireKnownCommand(app, argc, argv);
    app.parse(argc, argv);
    ThrowIfStopped();  // a wait for input ends like the input's end
    FlushStdout();
    return exit_code;
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    throw Error(ErrorKind::kUsage, e.what()).Hint("lowbit --help, or lowbit COMMAND --help");
  } catch (const Error&) {
    throw;
  } catch (const std::bad_alloc&) {
    throw Error(ErrorKind::kResource, "out of memory");
  } catch (const std::system_error& e) {  // of the standard library's files, and of output
    throw Error(ErrorKind::kResource, e.what());
  } catch (const std::exception& e) {
    throw Error(ErrorKind::kInternal, e.what())
        .Hint("this is a bug in lowbit; please report it with the command you ran");
  }
}

// Whether the same command, given again, does the rest.
bool GoesOn(const CLI::App& app) {
  return app.got_subcommand("quantize") || app.got_subcommand("study") ||
         app.get_subcommand("eval")->count("--output-path") > 0;
}

int Run(int argc, char** argv) {
  CLI::App app{
      "lowbit: what does every bit cost? Quantizes a Hugging Face checkpoint, measures what was lost, "
      "reports it."};
  app.name("lowbit");
  app.set_version_flag("--version", "lowbit " + CodeVersion() + " (" + CompilerText() + ")");
  app.require_subcommand(1);
  app.fallthrough();
  bool quiet = false, verbose = false;
  app.add_flag("-q,--quiet", quiet, "no progress, warnings only");
  app.add_flag("-v,--verbose", verbose, "say more");
  app.footer(
      "Examples:\n"
      "  lowbit inspect Qwen3-0.6B\n"
      "  lowbit quantize Qwen3-0.6B rtn-w4-g128 -o q4\n"
      "  lowbit eval q4 --tasks wikitext2 --windows 20\n"
      "  lowbit study studies/demo.yaml -o demo && lowbit report demo/results.db -o report.html\n"
      "Exit codes: 0 done, 1 our bug, 2 usage, 3 bad content, 4 missing file, 5 out of resources, 6 locked "
      "or other\n"
      "inputs, 7 numeric failure, 8 network, 9 finished but some cells failed, 128+n stopped by signal n.");
  app.parse_complete_callback([&] {
    if (quiet) {
      SetLogLevel(LogLevel::kQuiet);
      Progress::SetEnabled(false);
    } else if (verbose) {
      SetLogLevel(LogLevel::kVerbose);
    }
  });

  int exit_code = 0;
  AddInspectCommand(app);
  AddTokenizeCommand(app);
  AddQuantizeCommand(app, exit_code);
  AddEvalCommand(app);
  AddStudyCommand(app, exit_code);
  AddReportCommand(app);
  AddCompareCommand(app);
  AddLogitsCommand(app);
  AddScoreCommand(app);

  const bool as_json = std::any_of(argv + 1, argv + argc, [](std::string_view a) { return a == "--json"; });
  try {
    return RunCommand(app, argc, argv, exit_code);
  } catch (const Stopped& stopped) {
    return ReportStop(stopped.signal, GoesOn(app), as_json);
  } catch (const Error& e) {
    // What goes wrong after a request to stop is its consequence: a pipe that was closed, a read cut short.
    if (StopSignal() != 0) return ReportStop(StopSignal(), GoesOn(app), as_json);
    return Report(e, as_json);
  }
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  lowbit::UseOneHeap();
  lowbit::InstallStopHandlers();
  return lowbit::Run(argc, argv);
}
