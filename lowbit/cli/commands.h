// SPDX-License-Identifier: Apache-2.0
// Room cli: flags in, results out. The only room that prints and that picks exit codes.
// In:  argv, stdin.   Out: results on stdout, messages and progress on stderr, an exit code (docs/cli.md).
// Non-goals: deciding anything about numbers.
// Start reading here: one Add…Command per file of the same name; main.cc lists them all.
#pragma once

#include <CLI/CLI.hpp>

namespace lowbit {

void AddInspectCommand(CLI::App& app);
void AddTokenizeCommand(CLI::App& app);
void AddQuantizeCommand(CLI::App& app, int& exit_code);  // kExitPartial when some recipes failed
void AddEvalCommand(CLI::App& app);
void AddStudyCommand(CLI::App& app, int& exit_code);  // kExitPartial when some cells failed
void AddReportCommand(CLI::App& app);
void AddCompareCommand(CLI::App& app);
void AddLogitsCommand(CLI::App& app);
void AddScoreCommand(CLI::App& app);

}  // namespace lowbit
