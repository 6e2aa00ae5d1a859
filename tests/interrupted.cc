// SPDX-License-Identifier: Apache-2.0
#include "tests/interrupted.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "lowbit/base/files.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/json.h"

namespace lowbit::test {
namespace fs = std::filesystem;
namespace {

constexpr int kVocabulary = 512;  // rows of the tiny model's embedding

// The demo's tokenizer with as many tokens as the tiny model has rows.
std::string TinyTokenizer() {
  const std::string path = std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3/tokenizer.json";
  Json json = ReadJsonFile(path, {size_t{64} << 20, 64});
  Json& model = json["model"];
  const size_t added = json["added_tokens"].size(), tokens = kVocabulary - added;
  const size_t merges = model["merges"].size() - (model["vocab"].size() - tokens);
  for (auto it = model["vocab"].begin(); it != model["vocab"].end();) {
    it = it->get<size_t>() >= tokens ? model["vocab"].erase(it) : std::next(it);
  }
  Json kept = Json::array();
  for (size_t i = 0; i < merges; ++i) kept.push_back(model["merges"][i]);
  model["merges"] = kept;
  for (size_t i = 0; i < added; ++i) json["added_tokens"][i]["id"] = tokens + i;
  return json.dump();
}

std::string Content(const fs::path& path) {
  const std::string name = path.filename().string();
  if (name == ".lock") return "";
  if (name != "lowbit.json") return Sha256OfFile(path.string());
  Json json = ReadJsonFile(path.string());
  json.erase("seconds");
  return json.dump();
}

// "results.json" of "results_2026-01-02T03-04-05Z.json".
std::string WithoutDate(const std::string& name) {
  const size_t at = name.rfind("_20");
  return at == name.npos ? name : name.substr(0, at) + fs::path(name).extension().string();
}

std::vector<CellRow> RowsOf(const std::string& database) {
  std::vector<CellRow> rows = ResultsDb::Open(database, ResultsDb::Mode::kRead).All();
  for (CellRow& row : rows) {
    row.provenance.quantize_seconds.reset();
    row.provenance.shared_seconds.reset();
    row.provenance.shared_by.reset();  // of those that were not finished before
    row.provenance.eval_seconds.reset();
    row.provenance.peak_bytes.reset();
    row.provenance.started.clear();
  }
  return rows;
}

std::string Difference(const Remains& is, const Remains& expected) {
  std::string text;
  for (const auto& [name, hash] : is.files) {
    if (!expected.files.contains(name)) text += "  stray " + name + "\n";
  }
  for (const auto& [name, hash] : expected.files) {
    if (!is.files.contains(name)) text += "  missing " + name + "\n";
    if (is.files.contains(name) && is.files.at(name) != hash) text += "  other content in " + name + "\n";
  }
  if (is.rows != expected.rows) {
    text += fmt::format("  {} rows, expected {}, or other values\n", is.rows.size(), expected.rows.size());
    for (const CellRow& row : is.rows) text += fmt::format("    {} {} {}\n", row.recipe, row.task, row.error);
  }
  return text;
}

}  // namespace

std::string Name(Job job) {
  switch (job) {
    case Job::kQuantize:
      return "Quantize";
    case Job::kSweep:
      return "Sweep";
    case Job::kStudy:
      return "Study";
    case Job::kReport:
      return "Report";
    case Job::kEval:
      return "Eval";
  }
  return "";
}

InterruptedSite::InterruptedSite() : folder_("interrupted") {
  MakeModel();
  MakeData();
  MakeDirectory(Disk());
  std::string text = "What does every bit cost? ";
  for (int i = 0; i < 12; ++i) text += "It was the year " + std::to_string(1900 + 7 * i) + ". ";
  WriteFileAtomic(Path("a.txt"), text);
  WriteFileAtomic(Path("b.txt"), "Another text. " + text);
  WriteFileAtomic(Path("c.txt"), "To learn from. " + text);
  WriteFileAtomic(
      Path("study.yaml"),
      "study: s\nmodels: [model]\nrecipes: [full, gptq-w4-g32, 'rtn-w2-channel:head=w8-g64,range=hdiag']\n"
      "calibration: {file: c.txt, samples: 3, length: 32, policy: concat}\n"
      "tasks: [{task: 'text:a.txt', window: 32}, {task: 'text:b.txt', window: 32}]\n");
}

// Two tasks of a few questions.
void InterruptedSite::MakeData() const {
  MakeDirectory(Path("data"));
  MakeDirectory(Path("data/piqa"));
  MakeDirectory(Path("data/arc_easy"));
  std::string goals, questions;
  for (int i = 0; i < 5; ++i) {
    goals +=
        fmt::format(R"({{"goal": "It was {}", "sol1": "Another text", "sol2": "What", "label": 1}})", i) +
        "\n";
    questions +=
        fmt::format(R"({{"question": "Year {}?", "choices": {{"text": ["19", "It"], "label": ["A", "B"]}}, )"
                    R"("answerKey": "B"}})",
                    i) +
        "\n";
  }
  WriteFileAtomic(Path("data/piqa/valid.jsonl"), goals);
  WriteFileAtomic(Path("data/arc_easy/ARC-Easy-Test.jsonl"), questions);
}

// For reports.
void InterruptedSite::MakeResults() const {
  if (fs::exists(Path("results.db"))) return;
  const Outcome made = RunLowbit(Prepare(Job::kStudy));
  if (made.exit_code != 0) throw Error(ErrorKind::kInternal, made.err);
  fs::rename(Out() + "/results.db", Path("results.db"));
}

void InterruptedSite::MakeModel() const {
  MakeDirectory(Path("model"));
  for (const char* name : {"config.json", "model.safetensors"}) {
    fs::copy_file(std::string(LOWBIT_TESTDATA) + "/models/tiny-qwen3/" + name, Path("model/") + name);
  }
  static const std::string tokenizer = TinyTokenizer();
  WriteFileAtomic(Path("model/tokenizer.json"), tokenizer);
}

std::vector<std::string> InterruptedSite::Prepare(Job job) const {
  fs::remove_all(Out());
  switch (job) {
    case Job::kQuantize:
      return {"quantize", Path("model"), "rtn-w4-g32:head=w8-g64", "-o", Out(), "-t", "2"};
    case Job::kSweep:
      return {"quantize",
              Path("model"),
              "gptq-w3-g32:act_order=true",
              "awq-w3-g32",
              "awq+gptq-w2-g64",
              "billm:block=32",
              "smoothquant-w8a8",
              "gptq-w4a4-g32:transform=hadamard,range=hdiag",
              "-o",
              Out(),
              "--calib",
              Path("a.txt"),
              "--calib-samples",
              "3",
              "--calib-length",
              "32",
              "-t",
              "2"};
    case Job::kStudy:
      return {"study", Path("study.yaml"), "-o", Out(), "-t", "2"};
    case Job::kReport:
      MakeResults();
      fs::remove_all(Out());
      MakeDirectory(Out());
      WriteFileAtomic(Out() + "/report.html", "an old report");
      return {"report", Path("results.db"), "-o", Out() + "/report.html"};
    case Job::kEval:
      return {"eval",
              Path("model"),
              "--tasks",
              "piqa,arc_easy,text:" + Path("a.txt"),
              "--window",
              "32",
              "--data",
              Path("data"),
              "--output-path",
              Out(),
              "--log-samples",
              "-t",
              "2"};
  }
  return {};
}

Outcome InterruptedSite::RunWith(const Fault& fault, const std::vector<std::string>& command) const {
  fs::remove(Path("calls"));
  return Program(command, "",
                 {"LD_PRELOAD=" LOWBIT_FAULT_SHIM, "LOWBIT_FAULT_FOLDER=" + Out(),
                  "LOWBIT_FAULT_MODE=" + fault.mode, fmt::format("LOWBIT_FAULT_AT={}", fault.at),
                  fmt::format("LOWBIT_FAULT_ERRNO={}", fault.error), "LOWBIT_FAULT_LOG=" + Path("calls"),
                  // The sanitizers' runtime wants to be the first library.
                  "ASAN_OPTIONS=verify_asan_link_order=0:exitcode=99", "UBSAN_OPTIONS=exitcode=99"})
      .Wait();
}

std::vector<std::string> InterruptedSite::Calls() const {
  std::vector<std::string> calls;
  if (!fs::exists(Path("calls"))) return calls;
  std::istringstream lines(ReadFile(Path("calls")));
  for (std::string line; std::getline(lines, line);) calls.push_back(line);
  return calls;
}

Remains InterruptedSite::Read() const {
  Remains remains;
  std::vector<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(Out())) paths.push_back(entry.path());
  std::ranges::sort(paths);
  for (const fs::path& path : paths) {
    const std::string name = WithoutDate(fs::relative(path, Out()).string());
    const bool has_rows = name == "results.db";
    remains.files[name] = fs::is_regular_file(path) && !has_rows ? Content(path) : "";
  }
  if (remains.files.contains("results.db")) remains.rows = RowsOf(Out() + "/results.db");
  return remains;
}

const Remains& InterruptedSite::Expected(Job job) {
  const auto known = expected_.find(job);
  if (known != expected_.end()) return known->second;
  const Outcome outcome = RunLowbit(Prepare(job));
  if (outcome.exit_code != 0) throw Error(ErrorKind::kInternal, outcome.err);
  return expected_[job] = Read();
}

testing::AssertionResult InterruptedSite::SaysWhatFailed(const Outcome& outcome) const {
  std::istringstream lines(outcome.err);
  std::vector<std::string> errors;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("error: ")) errors.push_back(line);
  }
  if (errors.size() == 1 && errors[0].starts_with("error: " + Out())) return testing::AssertionSuccess();
  return testing::AssertionFailure() << errors.size() << " lines of error, expected one with the path:\n"
                                     << outcome.err;
}

testing::AssertionResult InterruptedSite::Recovers(Job job, const std::vector<std::string>& command,
                                                   size_t acknowledged) {
  const Outcome outcome = RunLowbit(command);
  if (outcome.exit_code != 0) {
    return testing::AssertionFailure() << "the next run has exit code " << outcome.exit_code << ":\n"
                                       << outcome.err;
  }
  if (job == Job::kStudy) {
    const size_t again = AcknowledgedCells(outcome), cells = expected_.at(job).rows.size();
    if (acknowledged + again > cells) {
      return testing::AssertionFailure() << acknowledged << " of " << cells << " cells were finished, and "
                                         << again << " measured afterwards";
    }
  }
  const std::string difference = Difference(Read(), expected_.at(job));
  if (difference.empty()) return testing::AssertionSuccess();
  return testing::AssertionFailure() << "after the next run:\n" << difference << outcome.err;
}

size_t AcknowledgedCells(const Outcome& outcome) {
  size_t count = 0;
  std::istringstream lines(outcome.err);
  for (std::string line; std::getline(lines, line);) count += line.starts_with('[') ? 1 : 0;
  return count;
}

int FromEnvironment(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

}  // namespace lowbit::test
