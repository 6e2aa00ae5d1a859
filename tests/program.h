// SPDX-License-Identifier: Apache-2.0
// Runs the lowbit program as a user would.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

namespace lowbit::test {

struct Outcome {
  int exit_code = -1;  // 128 + n when signal n ended it
  std::string out, err;
};

// The build's own, or what $LOWBIT_PROGRAM names: an optimised one for long loops.
std::string PathOfProgram();

// `arguments` go to the program as they are; `input` to its stdin.
Outcome RunLowbit(const std::vector<std::string>& arguments, const std::string& input = "");

class TempFolder;

// The program under way. `environment`: "NAME=value", added to the test's own.
class Program {
 public:
  explicit Program(const std::vector<std::string>& arguments, const std::string& input = "",
                   const std::vector<std::string>& environment = {});
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void Send(int signal) const;  // does nothing once it has ended
  Outcome Wait();               // once

 private:
  std::unique_ptr<TempFolder> folder_;
  pid_t child_ = -1;
};

// A folder of its own under the test's temporary folder, removed with the object.
class TempFolder {
 public:
  explicit TempFolder(const std::string& name);
  ~TempFolder();
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  std::vector<std::string> Files() const;  // all of them, hidden too, sorted, relative

 private:
  std::string path_;
};

}  // namespace lowbit::test
