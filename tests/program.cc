// SPDX-License-Identifier: Apache-2.0
#include "tests/program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
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

Outcome RunLowbit(const std::vector<std::string>& arguments, const std::string& input) {
  const TempFolder folder("run");
  const std::string in = folder / "in", out = folder / "out", err = folder / "err";
  WriteFileAtomic(in, input);
  std::vector<char*> argv = {const_cast<char*>(LOWBIT_PROGRAM)};
  for (const std::string& a : arguments) argv.push_back(const_cast<char*>(a.c_str()));
  argv.push_back(nullptr);
  const pid_t child = fork();
  if (child == 0) {  // nothing that allocates: another thread may have held the allocator's lock
    Redirect(in.c_str(), O_RDONLY, STDIN_FILENO);
    Redirect(out.c_str(), O_WRONLY | O_CREAT, STDOUT_FILENO);
    Redirect(err.c_str(), O_WRONLY | O_CREAT, STDERR_FILENO);
    execv(LOWBIT_PROGRAM, argv.data());
    _exit(127);
  }
  int status = 0;
  waitpid(child, &status, 0);
  Outcome outcome;
  outcome.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  outcome.out = ReadFile(out);
  outcome.err = ReadFile(err);
  return outcome;
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
