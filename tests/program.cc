// SPDX-License-Identifier: Apache-2.0
#include "tests/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "lowbit/base/files.h"

namespace lowbit::test {
namespace fs = std::filesystem;
namespace {

// Output goes through files: a pipe would need a reader per stream.
void Redirect(const std::string& path, int flags, int target) {
  const int fd = open(path.c_str(), flags, 0644);
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
  WriteFileAtomic(*folder_ / "in", input);
  std::string program = PathOfProgram();
  std::vector<char*> argv = {program.data()};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  child_ = fork();
  if (child_ != 0) return;
  for (const std::string& setting : environment) putenv(const_cast<char*>(setting.c_str()));
  Redirect(*folder_ / "in", O_RDONLY, STDIN_FILENO);
  Redirect(*folder_ / "out", O_WRONLY | O_CREAT, STDOUT_FILENO);
  Redirect(*folder_ / "err", O_WRONLY | O_CREAT, STDERR_FILENO);
  execv(argv[0], argv.data());
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
  static int count = 0;
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
