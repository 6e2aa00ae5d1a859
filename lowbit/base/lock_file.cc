// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/lock_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "lowbit/base/error.h"
#include "lowbit/base/files.h"

namespace lowbit {

namespace {

// Whether the open file is still the one at `path`: its folder may have been removed, and made anew, between
// opening and locking.
bool IsAt(int fd, const std::string& path) {
  struct stat mine {
  }, there{};
  return fstat(fd, &mine) == 0 && stat(path.c_str(), &there) == 0 && mine.st_ino == there.st_ino &&
         mine.st_dev == there.st_dev;
}

[[noreturn]] void ThrowTaken(const std::string& folder, int fd) {
  std::array<char, 32> holder{};
  const ssize_t n = pread(fd, holder.data(), holder.size() - 1, 0);
  close(fd);
  throw Error(
      ErrorKind::kConflict, Place(folder),
      fmt::format("in use by another lowbit{}", n > 0 ? fmt::format(" (process {})", holder.data()) : ""));
}

}  // namespace

LockFile::LockFile(const std::string& folder) {
  const std::string path = folder + "/.lock";
  while (true) {
    fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) throw WriteError::Of(path, "create", errno);
    if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EWOULDBLOCK) ThrowTaken(folder, fd_);
      const int reason = errno;
      close(fd_);
      throw WriteError::Of(path, "lock", reason);
    }
    if (IsAt(fd_, path)) break;
    close(fd_);
  }
  const std::string me = std::to_string(getpid());
  // The name is for people; the lock itself is the kernel's, so a failed write changes nothing.
  if (ftruncate(fd_, 0) == 0) static_cast<void>(!pwrite(fd_, me.data(), me.size(), 0));
}

LockFile::~LockFile() {
  close(fd_);
}  // the file stays: removing it would race with the next holder

}  // namespace lowbit
