// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "lowbit/base/error.h"

namespace lowbit {

LockFile::LockFile(const std::string& folder) {
  const std::string path = folder + "/.lock";
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0)
    throw Error(ErrorKind::kResource, Place(path), fmt::format("cannot create: {}", std::strerror(errno)));
  if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    std::array<char, 32> holder{};
    const ssize_t n = pread(fd_, holder.data(), holder.size() - 1, 0);
    close(fd_);
    throw Error(
        ErrorKind::kConflict, Place(folder),
        fmt::format("in use by another lowbit{}", n > 0 ? fmt::format(" (process {})", holder.data()) : ""));
  }
  const std::string me = std::to_string(getpid());
  // The name is for people; the lock itself is the kernel's, so a failed write changes nothing.
  if (ftruncate(fd_, 0) == 0) static_cast<void>(!pwrite(fd_, me.data(), me.size(), 0));
}

LockFile::~LockFile() {
  close(fd_);
}  // the file stays: removing it would race with the next holder

}  // namespace lowbit
