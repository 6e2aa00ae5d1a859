// SPDX-License-Identifier: Apache-2.0
// One process at a time in a folder, by a kernel lock that a killed process cannot leave behind.
#pragma once

#include <string>

namespace lowbit {

class LockFile {
 public:
  // Takes FOLDER/.lock. Throws Error{kConflict} naming the holder's process when it is taken,
  // WriteError when it cannot be made.
  explicit LockFile(const std::string& folder);
  ~LockFile();
  LockFile(const LockFile&) = delete;
  LockFile& operator=(const LockFile&) = delete;

 private:
  int fd_ = -1;
};

}  // namespace lowbit
