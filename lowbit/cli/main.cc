// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <string_view>

#include "lowbit/base/build_info.h"
#include "lowbit/base/error.h"
#include "lowbit/base/json.h"
#include "lowbit/base/log.h"
#include "lowbit/base/memory.h"
#include "lowbit/base/progress.h"
#include "lowbit/cli/commands.h"

namespace lowbit {
namespace {

// One line for people; with --json the same as an object, for programs.
int Report(const Error& error, bool as_json) {
  Progress::ClearLine();
  if (as_json) {
    const Json fields = {{"kind", Name(error.kind())},   {"exit_code", ExitCode(error.kind())},
                         {"file", error.place().file()}, {"place", error.place().item()},
                         {"message", error.message()},   {"hint", error.hint()}};
    fmt::print(stderr, "{}\n", Json{{"error", fields}}.dump(-1, ' ', false, Json::error_handler_t::replace));
  } else {
    fmt::print(stderr, "error: {}\n", error.what());
  }
  return ExitCode(error.kind());
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
  AddQuantizeCommand(app);
  AddEvalCommand(app);
  AddStudyCommand(app, exit_code);
  AddReportCommand(app);
  AddLogitsCommand(app);
  AddScoreCommand(app);

  const bool as_json = std::any_of(argv + 1, argv + argc, [](std::string_view a) { return a == "--json"; });
  try {
    RequireKnownCommand(app, argc, argv);
    app.parse(argc, argv);
    return exit_code;
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return Report(Error(ErrorKind::kUsage, e.what()).Hint("lowbit --help, or lowbit COMMAND --help"),
                  as_json);
  } catch (const Error& e) {
    return Report(e, as_json);
  } catch (const std::bad_alloc&) {
    return Report(Error(ErrorKind::kResource, "out of memory"), as_json);
  } catch (const std::exception& e) {
    return Report(Error(ErrorKind::kInternal, fmt::format("{}", e.what()))
                      .Hint("this is a bug in lowbit; please report it with the command you ran"),
                  as_json);
  }
}

}  // namespace
}  // namespace lowbit

int main(int argc, char** argv) {
  lowbit::UseOneHeap();
  return lowbit::Run(argc, argv);
}
