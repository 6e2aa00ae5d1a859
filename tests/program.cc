// SPDX-License-Identifier: Apache-2.0
#include "tests/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <filesystem>

#include "lowbit/base/files.h"

namespace lowbit::test {
namespace fs = std::filesystem;
namespace {

// Output goes through files: a pipe would need a reader per stream.
void Redirect(const char* path, int flags, int target) {
  const int fd = open(path, flags, 0644);
  if (fd < 0 || dup2(fd, target) < 0) _exit(127);
  close(fd);
}

}  // namespace

std::string PathOfProgram() {
  const char* other = std::getenv("LOWBIT_PROGRAM");
  return other != nullptr ? other : LOWBIT_PROGRAM;
}

Program::Program(const std::vector<std::string>& arguments, const std::string& input,
                 const std::vector<std::string>& environment)
    : folder_(std::make_unique<TempFolder>("run")) {
  const std::string in = *folder_ / "in", out = *folder_ / "out", err = *folder_ / "err";
  WriteFileAtomic(in, input);
  std::string program = PathOfProgram();
  std::vector<char*> argv = {program.data()};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  std::vector<char*> settings;
  for (char** setting = environ; *setting != nullptr; ++setting) settings.push_back(*setting);
  for (const std::string& setting : environment) settings.push_back(const_cast<char*>(setting.c_str()));
  std::ranges::reverse(settings);  // of two settings of one name the first counts: ours
  settings.push_back(nullptr);
  child_ = fork();
  if (child_ != 0) return;
  // Nothing that allocates: another thread may have held the allocator's lock.
  Redirect(in.c_str(), O_RDONLY, STDIN_FILENO);
  Redirect(out.c_str(), O_WRONLY | O_CREAT, STDOUT_FILENO);
  Redirect(err.c_str(), O_WRONLY | O_CREAT, STDERR_FILENO);
  execve(argv[0], argv.data(), settings.data());
  _exit(127);
}

Program::~Program() {
  if (child_ <= 0) return;
  kill(child_, SIGKILL);
  waitpid(child_, nullptr, 0);
}

void Program::Send(int signal) const {
  if (child_ > 0) kill(child_, signal);
}

Outcome Program::Wait() {
  int status = 0;
  waitpid(child_, &status, 0);
  child_ = -1;
  Outcome outcome;
  outcome.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  // A process killed at once may not have made them.
  for (const auto& [name, text] : {std::pair("out", &outcome.out), std::pair("err", &outcome.err)}) {
    if (fs::exists(*folder_ / name)) *text = ReadFile(*folder_ / name);
  }
  return outcome;
}

Outcome RunLowbit(const std::vector<std::string>& arguments, const std::string& input) {
  return Program(arguments, input).Wait();
}

TempFolder::TempFolder(const std::string& name) {
  static std::atomic<int> count = 0;
  path_ = fs::path(testing::TempDir()) / fmt::format("lowbit-{}-{}-{}", name, getpid(), count++);
  fs::create_directories(path_);
}

TempFolder::~TempFolder() {
  std::error_code code;
  fs::remove_all(path_, code);
}

std::vector<std::string> TempFolder::Files() const {
  std::vector<std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(path_))
    files.push_back(fs::relative(entry.path(), path_).string());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace lowbit::test
