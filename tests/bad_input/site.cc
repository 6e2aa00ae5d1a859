// SPDX-License-Identifier: Apache-2.0
#include "tests/bad_input/site.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>

#include "lowbit/base/files.h"
#include "lowbit/calib/statistics_file.h"

namespace lowbit::bad_input {
namespace fs = std::filesystem;

const Command kInspect = {"inspect", "@model"};
const Command kInspectSharded = {"inspect", "@sharded"};
const Command kInspectLlama = {"inspect", "@llama"};
const Command kQuantize = {"quantize", "@model", "rtn-w4-g32", "-o", "@out"};
const Command kLogits = {"logits", "--model", "@model", "--ids", "@ids.json", "--out", "@out.safetensors"};
const Command kScore = {"score", "@model", "@requests.jsonl"};
const Command kTokenize = {"tokenize", "--model", "@demo"};
const Command kStudy = {"study", "@study.yaml", "-o", "@out"};
const Command kEval = {"eval", "@demo", "--tasks", "text:@text.txt", "--window", "8"};
const Command kReport = {"report", "@done/results.db", "-o", "@report.html"};
const Command kInspectArtefact = {"inspect", "@artefact"};
const Command kArtefactLogits = {"logits",    "--model", "@artefact",       "--ids",
                                 "@ids.json", "--out",   "@out.safetensors"};
const Command kInspectStatistics = {"inspect", "@statistics.safetensors"};

namespace {

// Of a mixture of two experts, without a model: every number is 1 but for the zeros of the expert that saw none.
void WriteSomeStatistics(const std::string& path) {
  ModelStatistics statistics;
  statistics.origin = {std::string(64, 'a'), std::string(64, 'b'), "0.1.0", 100};
  const auto add = [&](const std::string& name, uint64_t tokens) {
    InputStatistics tap(8);
    tap.tokens = tokens;
    const double value = tokens > 0 ? 1 : 0;
    std::fill_n(tap.gram.data(), tap.gram.size(), value);
    tap.sum_abs.assign(8, value);
    tap.max_abs.assign(8, static_cast<float>(value));
    statistics.taps.emplace(name, std::move(tap));
  };
  add("model.layers.0.mlp_in", 100);
  add("model.layers.0.mlp_mid.0", 60);
  add("model.layers.0.mlp_mid.1", 0);
  statistics.expert_tokens["model.layers.0."] = {60, 0};
  WriteStatistics(path, statistics);
}

void WriteText(const std::string& path, const std::string& text) {
  fs::remove_all(path);  // it may be another name of the pattern's file
  std::ofstream(path, std::ios::binary) << text;
}

void CopyModel(const fs::path& from, const fs::path& to) {
  fs::create_directories(to);
  for (const auto& entry : fs::directory_iterator(from)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") || name == "config.json" || name == "tokenizer.json")
      fs::copy_file(entry.path(), to / name);
  }
}

void MustRun(const std::vector<std::string>& arguments) {
  const test::Outcome outcome = test::RunLowbit(arguments);
  if (outcome.exit_code != 0) throw std::runtime_error(outcome.err);
}

// What every site begins with, made once.
const test::TempFolder& Pattern() {
  static const test::TempFolder folder("bad-pattern");
  static const bool made = [] {
    const std::string models = std::string(LOWBIT_TESTDATA) + "/models";
    const std::string demo = std::string(LOWBIT_SOURCE_DIR) + "/data/demo-qwen3";
    CopyModel(models + "/tiny-qwen3", folder / "model");
    CopyModel(models + "/tiny-qwen3-bf16-sharded", folder / "sharded");
    CopyModel(models + "/tiny-llama3", folder / "llama");
    CopyModel(demo, folder / "demo");
    // It has more tokens than the tiny model has rows: fine for every case that fails earlier.
    fs::copy_file(demo + "/tokenizer.json", folder / "model/tokenizer.json");
    const std::string words = "What does every bit cost? A short text with a few words, twice over. ";
    WriteText(folder / "text.txt", words + std::string(400, 'x'));
    WriteText(folder / "ids.json", R"({"sequences": [[1, 2, 3]]})");
    WriteText(folder / "requests.jsonl", "{\"context_ids\": [1], \"continuations\": [[2, 3]]}\n");
    WriteText(folder / "study.yaml",
              "study: s\nmodels: [demo]\nrecipes: [full]\ntasks: [{task: 'text:text.txt', window: 8}]\n");
    WriteSomeStatistics(folder / "statistics.safetensors");
    MustRun({"quantize", folder / "model", "rtn-w4-g32:head=w8-g32", "-o", folder / "artefact"});
    MustRun({"study", folder / "study.yaml", "-o", folder / "done"});
    return true;
  }();
  static_cast<void>(made);
  return folder;
}

}  // namespace

Site::Site() : folder_("bad") {
  const fs::path from = Pattern().path();
  for (const auto& entry : fs::recursive_directory_iterator(from)) {
    const fs::path to = fs::path(folder_.path()) / fs::relative(entry.path(), from);
    if (entry.is_directory()) {
      fs::create_directories(to);
    } else if (entry.path().filename() == ".lock") {
      fs::copy_file(entry.path(), to);  // a lock of one file would hold for all sites
    } else {
      fs::create_hard_link(entry.path(), to);  // what breaks a file replaces it
    }
  }
}

std::string Site::Read(const std::string& name) const {
  return ReadFile(Path(name));
}

void Site::Write(const std::string& name, const std::string& text) const {
  WriteText(Path(name), text);
}

void Site::Remove(const std::string& name) const {
  fs::remove_all(Path(name));
}

void Site::EditJson(const std::string& name, const std::function<void(Json&)>& edit) const {
  Json json = ParseJson(Read(name), Place(name));
  edit(json);
  Write(name, json.dump());
}

void Site::Replace(const std::string& name, const std::string& from, const std::string& to) const {
  std::string text = Read(name);
  const size_t at = text.find(from);
  if (at == std::string::npos) throw std::runtime_error(name + " has no " + from);
  Write(name, text.replace(at, from.size(), to));
}

std::vector<std::string> Site::State() const {
  std::vector<std::string> state;
  for (const auto& entry : fs::recursive_directory_iterator(folder_.path())) {
    struct stat info {};
    lstat(entry.path().c_str(), &info);
    const bool is_file = S_ISREG(info.st_mode);
    const fs::path name = entry.path().lexically_relative(folder_.path());
    const bool keeps = is_file && name.filename() != ".lock";  // which says who held it last
    state.push_back(
        fmt::format("{} {} {}", name.string(), keeps ? info.st_size : 0, keeps ? info.st_mtim.tv_nsec : 0));
  }
  std::ranges::sort(state);
  return state;
}

std::vector<std::string> Site::Arguments(const std::vector<std::string>& command) const {
  std::vector<std::string> arguments = command;
  for (std::string& a : arguments) {
    const size_t at = a.starts_with("text:") ? 5 : 0;
    if (a.substr(at).starts_with('@')) a = a.substr(0, at) + Path(a.substr(at + 1));
  }
  return arguments;
}

Damage Nothing() {
  return [](const Site&) {};
}
Damage Gone(const std::string& name) {
  return [=](const Site& s) { s.Remove(name); };
}
Damage Text(const std::string& name, const std::string& text) {
  return [=](const Site& s) { s.Write(name, text); };
}
Damage Cut(const std::string& name, size_t bytes) {
  return [=](const Site& s) { s.Write(name, s.Read(name).substr(0, bytes)); };
}
Damage Sparse(const std::string& name, uint64_t bytes) {
  return [=](const Site& s) {
    s.Write(name, "");
    fs::resize_file(s.Path(name), bytes);
  };
}
Damage Swap(const std::string& name, const std::string& from, const std::string& to) {
  return [=](const Site& s) { s.Replace(name, from, to); };
}
Damage Edit(const std::string& name, const std::function<void(Json&)>& edit) {
  return [=](const Site& s) { s.EditJson(name, edit); };
}
Damage Flip(const std::string& name, size_t byte) {
  return [=](const Site& s) {
    std::string text = s.Read(name);
    text.at(byte) = static_cast<char>(text.at(byte) ^ 0x10);
    s.Write(name, text);
  };
}
Damage Folder(const std::string& name) {
  return [=](const Site& s) {
    s.Remove(name);
    fs::create_directory(s.Path(name));
  };
}
Damage Pipe(const std::string& name) {
  return [=](const Site& s) {
    s.Remove(name);
    mkfifo(s.Path(name).c_str(), 0600);
  };
}
Damage LinkTo(const std::string& name, const std::string& target) {
  return [=](const Site& s) {
    s.Remove(name);
    fs::create_symlink(target, s.Path(name));
  };
}

}  // namespace lowbit::bad_input
