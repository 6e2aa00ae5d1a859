// SPDX-License-Identifier: Apache-2.0
// Reading with limits, and writing so that a file under its final name is always whole.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace lowbit {

// Whole content of a regular file. Throws Error{kMissing} when it cannot be read, is a directory, a
// pipe or a device (never blocks), and Error{kContent} when it holds more than `max_bytes`.
std::string ReadFile(const std::string& path, size_t max_bytes = size_t{1} << 30);

// Throws Error{kMissing} unless `path` is a directory that can be entered.
void RequireDirectory(const std::string& path, std::string_view what);

// Creates `path` and its parents. Throws Error{kResource}, or Error{kConflict} if a file is in the way.
void MakeDirectory(const std::string& path);

// A file that appears under its name only when it is complete: written beside the target as
// ".NAME.PID.tmp", then fsync, rename, fsync of the folder. Dropped without Commit() it leaves nothing.
// Every failure is an Error{kResource} with the path and the reason of the system; a file that this process
// writes already is an Error{kConflict}.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void Write(std::span<const std::byte> bytes);
  void Write(std::string_view text) { Write(std::as_bytes(std::span(text.data(), text.size()))); }
  void Commit();
  size_t size() const { return size_; }

 private:
  [[noreturn]] void Fail(std::string_view action);
  std::string path_, temp_;
  int fd_ = -1;
  size_t size_ = 0;
};

void WriteFileAtomic(const std::string& path, std::string_view content);

// Removes temporary files that an earlier, killed process left in `folder`: names of AtomicFile's form
// whose process is gone and that nobody holds the lock of, also not on another machine. Returns how many.
size_t RemoveStaleTemporaries(const std::string& folder);

}  // namespace lowbit
