// SPDX-License-Identifier: Apache-2.0
// Reading with limits, and writing so that a file under its final name is always whole.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "lowbit/base/error.h"

namespace lowbit {

// A file or folder that could not be written: the disk is full, broken, read-only. An Error{kResource} of its
// own type because what is written next will fail alike: a study ends with it, where other errors end a cell.
class WriteError : public Error {
 public:
  WriteError(const std::string& path, std::string message)
      : Error(ErrorKind::kResource, Place(path), std::move(message)) {}
  // For a call that failed: `action` ("write"), the reason of the system, and for a full disk what is free.
  static WriteError Of(const std::string& path, std::string_view action, int error_number,
                       std::string_view detail = "");
};

// Whole content of a regular file. Throws Error{kMissing} when it cannot be read, is a directory, a
// pipe or a device (never blocks), and Error{kContent} when it holds more than `max_bytes`.
std::string ReadFile(const std::string& path, size_t max_bytes = size_t{1} << 30);

// Throws Error{kMissing} unless `path` is a directory that can be entered.
void RequireDirectory(const std::string& path, std::string_view what);

// Creates `path` and its parents, durably. Throws WriteError, or Error{kConflict} if a file is in the way.
void MakeDirectory(const std::string& path);

// A file that appears under its name only when it is complete: written beside the target as
// ".NAME.PID.tmp", then fsync, rename, fsync of the folder. Dropped without Commit() it leaves nothing.
// Every failure is a WriteError with the path and the reason of the system; a file that this process writes
// already is an Error{kConflict}. Before it begins, what killed writers of the same file left is removed.
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

// Removes temporary files that killed processes left in `folder`, which the caller has locked (LockFile):
// names of AtomicFile's form that nobody is writing, also not on another machine. Returns how many.
// The numbers in the names are not asked: after a reboot, or in a container, another process has them.
// In a folder that may be somebody else's too, `of` says how the names of the caller's own files begin.
size_t RemoveStaleTemporaries(const std::string& folder, std::string_view of = "");

// The same in a folder that nobody locks: those of processes that live no more, by the numbers in the names.
size_t RemoveTemporariesOfTheDead(const std::string& folder, std::string_view of);

}  // namespace lowbit
