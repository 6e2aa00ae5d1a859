// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/files.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <vector>

#include "lowbit/base/error.h"
#include "lowbit/base/mapped_file.h"
#include "lowbit/base/stop.h"

namespace lowbit {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kTempSuffix = ".tmp";

// fsync of a folder makes the rename inside it durable.
bool SyncFolder(const fs::path& folder) {
  const int fd = open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return false;
  const bool ok = fsync(fd) == 0;
  const int reason = errno;
  close(fd);
  errno = reason;
  return ok;
}

std::string NameOfTemporary(const std::string& file, pid_t owner) {
  return fmt::format(".{}.{}{}", file, owner, kTempSuffix);
}

// The process id in ".NAME.PID.tmp", or 0 for another name.
pid_t OwnerOfTemporary(const std::string& name) {
  if (!name.starts_with('.') || !name.ends_with(kTempSuffix)) return 0;
  const std::string stem = name.substr(0, name.size() - kTempSuffix.size());
  const size_t dot = stem.rfind('.');
  if (dot == 0 || dot == std::string::npos || dot + 1 == stem.size()) return 0;
  if (stem.find_first_not_of("0123456789", dot + 1) != std::string::npos) return 0;
  return static_cast<pid_t>(std::strtol(stem.c_str() + dot + 1, nullptr, 10));
}

// Takes the lock that marks a temporary file as being written, until `fd` is closed. File systems without
// locks answer false.
bool IsLockedByAnother(int fd) {
  return flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

// Nobody writes the temporary file at `path` any more.
bool IsAbandoned(const fs::path& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
  if (fd < 0) return false;
  struct stat info {};
  const bool abandoned = fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && !IsLockedByAnother(fd);
  close(fd);
  return abandoned;
}

// Removes temporaries in `folder` that nobody writes and that `is_stale` of their name and owner. Returns how many.
size_t RemoveTemporaries(const fs::path& folder,
                         const std::function<bool(const std::string& name, pid_t owner)>& is_stale) {
  size_t removed = 0;
  std::error_code code;
  for (fs::directory_iterator it(folder.empty() ? "." : folder, code), end; !code && it != end;
       it.increment(code)) {
    const std::string name = it->path().filename().string();
    const pid_t owner = OwnerOfTemporary(name);
    if (owner <= 0 || !is_stale(name, owner) || !IsAbandoned(it->path())) continue;
    std::error_code ignored;
    removed += fs::remove(it->path(), ignored) ? 1 : 0;
  }
  return removed;
}

// In a folder that is not locked, a file of a living process may be one that it has just made and not locked yet.
bool IsGone(pid_t owner) {
  return owner != getpid() && kill(owner, 0) != 0 && errno == ESRCH;
}

}  // namespace

std::string ReadFile(const std::string& path, size_t max_bytes) {
  const int fd = OpenRegularFile(path);
  std::string content;
  struct stat info {};
  if (fstat(fd, &info) == 0 && static_cast<size_t>(info.st_size) > max_bytes) {
    close(fd);
    throw Error(ErrorKind::kContent, Place(path),
                fmt::format("{} bytes, expected at most {}", info.st_size, max_bytes));
  }
  content.resize(static_cast<size_t>(info.st_size));
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t n = read(fd, content.data() + done, content.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const std::string reason = std::strerror(errno);
      close(fd);
      throw Error(ErrorKind::kResource, Place(path), fmt::format("cannot read: {}", reason));
    }
    if (n == 0) break;
    done += static_cast<size_t>(n);
  }
  close(fd);
  content.resize(done);
  return content;
}

void RequireDirectory(const std::string& path, std::string_view what) {
  std::error_code code;
  const fs::file_status status = fs::status(path, code);
  if (!fs::exists(status)) {
    throw Error(ErrorKind::kMissing, Place(path), fmt::format("no such folder, expected {}", what));
  }
  if (!fs::is_directory(status)) {
    throw Error(ErrorKind::kMissing, Place(path), fmt::format("not a folder, expected {}", what));
  }
  if (access(path.c_str(), R_OK | X_OK) != 0) {
    throw Error(ErrorKind::kMissing, Place(path), fmt::format("cannot enter: {}", std::strerror(errno)));
  }
}

void MakeDirectory(const std::string& path) {
  std::vector<fs::path> made;  // innermost first
  std::error_code ignored;     // the reason is that of create_directories
  for (fs::path p = path; !p.empty() && !fs::exists(p, ignored); p = p.parent_path()) made.push_back(p);
  std::error_code code;
  fs::create_directories(path, code);
  if (!fs::is_directory(path, ignored)) {
    if (fs::exists(path, ignored)) {
      throw Error(ErrorKind::kConflict, Place(path), "is a file, expected a folder or nothing");
    }
    throw WriteError::Of(path, "create the folder", code.value());
  }
  // A file is as durable as the folders above it.
  for (const fs::path& p : made) {
    if (!SyncFolder(p.parent_path())) throw WriteError::Of(path, "sync the folder above", errno);
  }
}

WriteError WriteError::Of(const std::string& path, std::string_view action, int error_number,
                          std::string_view detail) {
  std::string message = fmt::format("cannot {}: {}", action, std::strerror(error_number));
  std::string more(detail);
  std::error_code code;
  fs::path folder = fs::path(path).parent_path();
  const fs::space_info space = fs::space(folder.empty() ? "." : folder, code);
  if ((error_number == ENOSPC || error_number == EDQUOT) && !code) {
    more += fmt::format("{}{} bytes free", more.empty() ? "" : ", ", space.available);
  }
  if (!more.empty()) message += fmt::format(" ({})", more);
  return {path, message};
}

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  const fs::path target(path_);
  std::error_code ignored;  // open says what is wrong
  if (fs::is_directory(target, ignored)) {
    throw Error(ErrorKind::kConflict, Place(path_), "is a folder, expected a file to write");
  }
  const std::string file = target.filename().string();
  RemoveTemporaries(target.parent_path(), [&](const std::string& name, pid_t owner) {
    return name == NameOfTemporary(file, owner) && IsGone(owner);
  });
  temp_ = (target.parent_path() / NameOfTemporary(file, getpid())).string();
  fd_ = open(temp_.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) {
    temp_.clear();
    Fail("create");
  }
  if (IsLockedByAnother(fd_)) {
    close(fd_);
    throw Error(ErrorKind::kConflict, Place(path_),
                "is being written already, expected one writer at a time");
  }
  if (ftruncate(fd_, 0) != 0) {  // a killed process of the same number may have left it
    const int reason = errno;
    close(fd_);
    unlink(temp_.c_str());
    errno = reason;
    Fail("create");
  }
}

AtomicFile::~AtomicFile() {
  if (fd_ >= 0) close(fd_);
  if (!temp_.empty()) unlink(temp_.c_str());
}

void AtomicFile::Fail(std::string_view action) {
  const int reason = errno;
  if (reason == EINTR) ThrowIfStopped();  // fsync and close on network file systems
  throw WriteError::Of(path_, action, reason,
                       size_ == 0 ? "" : fmt::format("{} bytes written so far", size_));
}

void AtomicFile::Write(std::span<const std::byte> bytes) {
  LOWBIT_ASSERT(fd_ >= 0);
  constexpr size_t kPiece = size_t{1} << 26;  // between two looks for a request to stop
  while (!bytes.empty()) {
    ThrowIfStopped();
    const ssize_t n = write(fd_, bytes.data(), std::min(bytes.size(), kPiece));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) Fail("write");
    size_ += static_cast<size_t>(n);
    bytes = bytes.subspan(static_cast<size_t>(n));
  }
}

void AtomicFile::Commit() {
  LOWBIT_ASSERT(fd_ >= 0);
  // After a failed fsync the pages count as clean: a second one would "succeed" with the data gone.
  if (fsync(fd_) != 0) Fail("write to disk");
  if (rename(temp_.c_str(), path_.c_str()) != 0) Fail("rename into place");  // still under the lock
  temp_.clear();
  const int fd = fd_;
  fd_ = -1;
  if (close(fd) != 0) Fail("close");
  if (!SyncFolder(fs::path(path_).parent_path())) Fail("sync the folder");
}

void WriteFileAtomic(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.Write(content);
  file.Commit();
}

size_t RemoveStaleTemporaries(const std::string& folder, std::string_view of) {
  return RemoveTemporaries(
      folder, [&](const std::string& name, pid_t) { return name.starts_with(fmt::format(".{}", of)); });
}

size_t RemoveTemporariesOfTheDead(const std::string& folder, std::string_view of) {
  return RemoveTemporaries(folder, [&](const std::string& name, pid_t owner) {
    return name.starts_with(fmt::format(".{}", of)) && IsGone(owner);
  });
}

}  // namespace lowbit
