// SPDX-License-Identifier: Apache-2.0
// Files that work, ways to break one of them, and the table of what must happen then.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "lowbit/base/json.h"
#include "tests/program.h"

namespace lowbit::bad_input {

// A folder of working files, made for one case:
//   model/     tiny-qwen3: config.json, model.safetensors (f32) and a tokenizer
//   sharded/   the same in bf16, six shards and their index
//   llama/     tiny-llama3
//   demo/      the model of data/, whose tokenizer fits it
//   artefact/  model/ after rtn-w4-g32:head=w8-g32
//   done/      a finished study's results.db
//   text.txt, ids.json, requests.jsonl, study.yaml, statistics.safetensors
class Site {
 public:
  Site();
  std::string Path(const std::string& name) const { return folder_ / name; }
  std::string Read(const std::string& name) const;
  void Write(const std::string& name, const std::string& text) const;
  void Remove(const std::string& name) const;
  void EditJson(const std::string& name, const std::function<void(Json&)>& edit) const;
  void Replace(const std::string& name, const std::string& from, const std::string& to) const;
  // All files with their sizes and times: what must be as it was afterwards.
  std::vector<std::string> State() const;
  // "@x" is the path of x in the site.
  std::vector<std::string> Arguments(const std::vector<std::string>& command) const;

 private:
  test::TempFolder folder_;
};

using Damage = std::function<void(const Site&)>;
using Command = std::vector<std::string>;

struct Case {
  std::string name;
  Damage damage;
  Command command;
  int exit_code;
  std::vector<std::string> says;  // all of it in the one line of stderr
};

// Rows of one command.
class Table {
 public:
  explicit Table(Command command, int exit_code = 3) : command_(std::move(command)), exit_code_(exit_code) {}
  Table& Add(std::string name, Damage damage, std::vector<std::string> says) {
    rows_.push_back({std::move(name), std::move(damage), command_, exit_code_, std::move(says)});
    return *this;
  }
  // The rows that follow have another command, or another exit code.
  Table& With(Command command) { return command_ = std::move(command), *this; }
  Table& Exits(int code) { return exit_code_ = code, *this; }
  std::vector<Case> Take() { return std::move(rows_); }

 private:
  Command command_;
  int exit_code_;
  std::vector<Case> rows_;
};

std::vector<Case> FileCases();
std::vector<Case> SafetensorsCases();
std::vector<Case> ShardIndexCases();
std::vector<Case> ConfigCases();
std::vector<Case> TokenizerCases();
std::vector<Case> DataCases();
std::vector<Case> DataSetCases();
std::vector<Case> RecipeCases();
std::vector<Case> StudyCases();
std::vector<Case> ResultsDbCases();
std::vector<Case> ArtefactCases();
std::vector<Case> StatisticsCases();
std::vector<Case> ArchiveCases();
std::vector<Case> CalibrationFlagCases();

extern const Command kInspect, kInspectSharded, kInspectLlama, kQuantize, kLogits, kScore, kTokenize, kStudy,
    kEval, kReport, kInspectArtefact, kArtefactLogits, kInspectStatistics;

// Damages.
Damage Nothing();
Damage Gone(const std::string& name);
Damage Text(const std::string& name, const std::string& text);  // the file holds this instead
Damage Cut(const std::string& name, size_t bytes);              // only its first bytes are left
Damage Sparse(const std::string& name, uint64_t bytes);         // as many zeros, which take no disk
Damage Swap(const std::string& name, const std::string& from, const std::string& to);
Damage Edit(const std::string& name, const std::function<void(Json&)>& edit);
Damage Flip(const std::string& name, size_t byte);  // one bit
Damage Folder(const std::string&name), Pipe(const std::string&name),
    LinkTo(const std::string&name, const std::string&target);

}  // namespace lowbit::bad_input
