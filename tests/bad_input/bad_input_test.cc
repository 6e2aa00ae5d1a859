// SPDX-License-Identifier: Apache-2.0
// What a user meets when something is wrong: one line with file and place, the right exit code, soon and
// without much memory, and nothing written. Every case starts from files that work and breaks one thing.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <sstream>
#include <thread>

#include "tests/bad_input/site.h"

namespace lowbit::bad_input {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kMostKib = 256 << 10;  // freed memory is kept for a while, and every byte has a shadow
constexpr long kMostMs = 10'000;
#else
constexpr size_t kMostKib = 64 << 10;
constexpr long kMostMs = 1000;
#endif

struct Measured {
  test::Outcome outcome;
  size_t peak_kib = 0;
  long cpu_ms = 0;
};

Measured Measure(const std::vector<std::string>& arguments) {
  Measured run{test::RunLowbit(arguments)};
  std::string& err = run.outcome.err;
  const size_t at = err.rfind("measured ");
  if (at == std::string::npos) return run;
  std::istringstream(err.substr(at + 9)) >> run.peak_kib >> run.cpu_ms;
  err.resize(at);
  return run;
}

size_t EmptyRunKib() {
  static const size_t kib = Measure({"--version"}).peak_kib;
  return kib;
}

void ExpectOneError(const Case& c, const test::Outcome& outcome) {
  EXPECT_EQ(outcome.out, "");
  std::istringstream lines(outcome.err);  // a warning may come before: it is another finding
  std::string error;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("warning: ")) continue;
    EXPECT_EQ(error, "") << "more than one line: " << outcome.err;
    error = line;
  }
  EXPECT_TRUE(error.starts_with("error: ")) << outcome.err;
  for (const std::string& part : c.says) EXPECT_THAT(error, testing::HasSubstr(part));
}

// The worst of a table: how far the bounds are away.
struct Worst {
  std::atomic<size_t> kib = 0;
  std::atomic<long> ms = 0;
  void Add(const Measured& run) {
    for (size_t most = kib; run.peak_kib > most && !kib.compare_exchange_weak(most, run.peak_kib);) {
    }
    for (long most = ms; run.cpu_ms > most && !ms.compare_exchange_weak(most, run.cpu_ms);) {
    }
  }
};

void RunCase(const Case& c, Worst& worst) {
  SCOPED_TRACE(c.name);
  const Site site;
  c.damage(site);
  const std::vector<std::string> before = site.State();
  const Measured run = Measure(site.Arguments(c.command));
  worst.Add(run);
  EXPECT_EQ(run.outcome.exit_code, c.exit_code) << run.outcome.err;
  EXPECT_LE(run.peak_kib, EmptyRunKib() + kMostKib);
  EXPECT_LE(run.cpu_ms, kMostMs);
  if (c.exit_code == kExitPartial) return;  // a finished study keeps its row: study_program_test.cc
  ExpectOneError(c, run.outcome);
  EXPECT_EQ(site.State(), before) << "something was written";
}

// Two at a time: most of a case is waiting for the program to start.
void RunAll(const std::vector<Case>& cases) {
  { const Site first; }
  EmptyRunKib();
  std::atomic<size_t> next = 0;
  Worst worst;
  const auto work = [&] {
    for (size_t i = next++; i < cases.size(); i = next++) {
      try {
        RunCase(cases[i], worst);
      } catch (const std::exception& e) {
        ADD_FAILURE() << cases[i].name << ": " << e.what();
      }
    }
  };
  std::thread other(work);
  work();
  other.join();
  std::printf("%zu cases, at most %ld KiB over an empty run of %zu and %ld ms of CPU\n", cases.size(),
              static_cast<long>(worst.kib) - static_cast<long>(EmptyRunKib()), EmptyRunKib(),
              worst.ms.load());
}

TEST(BadInput, Files) {
  RunAll(FileCases());
}
TEST(BadInput, Safetensors) {
  RunAll(SafetensorsCases());
}
TEST(BadInput, ShardIndex) {
  RunAll(ShardIndexCases());
}
TEST(BadInput, Config) {
  RunAll(ConfigCases());
}
TEST(BadInput, Tokenizer) {
  RunAll(TokenizerCases());
}
TEST(BadInput, Data) {
  RunAll(DataCases());
}
TEST(BadInput, DataSets) {
  RunAll(DataSetCases());
}
TEST(BadInput, RecipesAndArguments) {
  RunAll(RecipeCases());
}
TEST(BadInput, Studies) {
  RunAll(StudyCases());
}
TEST(BadInput, ResultsDb) {
  RunAll(ResultsDbCases());
}
TEST(BadInput, Artefacts) {
  RunAll(ArtefactCases());
}
TEST(BadInput, Statistics) {
  RunAll(StatisticsCases());
}
TEST(BadInput, Archives) {
  RunAll(ArchiveCases());
}
TEST(BadInput, CalibrationFlags) {
  RunAll(CalibrationFlagCases());
}

TEST(BadInputControls, TheUndamagedFilesWork) {
  const Site site;
  for (const Command& command :
       {kInspect, kInspectSharded, kInspectLlama, kQuantize, kLogits, kScore, kTokenize, kStudy, kEval,
        kReport, kInspectArtefact, kArtefactLogits, kInspectStatistics}) {
    const Measured run = Measure(site.Arguments(command));
    EXPECT_EQ(run.outcome.exit_code, 0) << command[0] << ": " << run.outcome.err;
    site.Remove("out");
    site.Remove("out.safetensors");
  }
}

TEST(BadInputAsJson, HasTheSameFields) {
  const Measured run = Measure({"inspect", "/no/such/folder", "--json"});
  EXPECT_EQ(run.outcome.exit_code, 4);
  const Json error = ParseJson(run.outcome.err, Place("stderr"))["error"];
  EXPECT_EQ(error["kind"], "missing");
  EXPECT_EQ(error["exit_code"], 4);
  EXPECT_EQ(error["file"], "/no/such/folder");
}

}  // namespace
}  // namespace lowbit::bad_input
