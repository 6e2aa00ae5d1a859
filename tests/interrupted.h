// SPDX-License-Identifier: Apache-2.0
// Commands to interrupt, and the question that every interruption ends with: is what the next run makes of it
// the same as if nothing had happened?
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "lowbit/study/results_db.h"
#include "tests/program.h"

namespace lowbit::test {

// kSweep: several recipes that learn, in one pass over the layers.
enum class Job : uint8_t { kQuantize, kSweep, kStudy, kReport, kEval };
std::string Name(Job job);  // "Quantize", "Sweep", …

// What a command left in its output folder, without what may differ between two runs: times, and the number of
// the process in .lock. Of files that have their date in their name, the last.
struct Remains {
  std::map<std::string, std::string> files;  // relative path -> hash; results.db has its rows instead
  std::vector<CellRow> rows;

  bool operator==(const Remains&) const = default;
};

// A tiny model with a tokenizer, texts, a study of six cells and its results; output folders beside them.
// What fault_shim.c does at call `at` (from 1; 0 = count only) of those that make the output durable.
struct Fault {
  std::string mode = "count";
  int at = 0;
  int error = 0;  // errno of a call that fails
};

class InterruptedSite {
 public:
  InterruptedSite();

  std::string Path(const std::string& name) const { return folder_ / name; }
  std::string Disk() const { return folder_ / "disk"; }  // where a small file system may be mounted
  std::string Out() const { return Disk() + "/out"; }
  // Into Out(), which it empties first. A report finds an old one in its place.
  std::vector<std::string> Prepare(Job job) const;

  // Runs a command whose calls on Out() meet the fault. What sanitizers find is exit code 99.
  Outcome RunWith(const Fault& fault, const std::vector<std::string>& command) const;
  // The calls of the last RunWith, one line each.
  std::vector<std::string> Calls() const;

  Remains Read() const;
  // What an undisturbed run leaves; made once.
  const Remains& Expected(Job job);

  // stderr has one line that begins with "error: ", and it names a file or folder of the output.
  testing::AssertionResult SaysWhatFailed(const Outcome& outcome) const;

  // The last run of a job that was interrupted: exit code 0, and everything as if nothing had happened.
  // `acknowledged`: cells that earlier runs called finished, which must not be measured again.
  testing::AssertionResult Recovers(Job job, const std::vector<std::string>& command, size_t acknowledged);

 private:
  void MakeModel() const;
  void MakeData() const;
  void MakeResults() const;
  TempFolder folder_;
  std::map<Job, Remains> expected_;
};

// Cells whose line "[1/6] …" was printed.
size_t AcknowledgedCells(const Outcome& outcome);

// The number in an environment variable, or `otherwise`.
int FromEnvironment(const char* name, int otherwise);

}  // namespace lowbit::test
