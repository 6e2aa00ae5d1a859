// SPDX-License-Identifier: Apache-2.0
// Read-only view of a file's bytes, without copying.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <span>
#include <string>

#include "lowbit/base/error.h"

namespace lowbit {

namespace mapping_internal {
struct Slot;
}

// Opens a regular file for reading. Directories, pipes and devices are refused before anything could
// block. Throws Error{kMissing} with the system's reason. The caller closes the descriptor.
int OpenRegularFile(const std::string& path);

// The whole of a regular file, mapped. Valid until destroyed; moving keeps the address.
//
// Somebody may cut the file, or write to it, while it is mapped, and a disk may fail under it. Reading then
// does not end the program: bytes that are gone read as zeros, and RequireIntact() throws. So nothing that
// was computed from bytes() may be used before RequireIntact() has returned after the last read. A file that
// is renamed over or deleted stays readable, and is intact.
class MappedFile {
 public:
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

  // Throws Error{kContent} when the file was cut or written to since it was mapped, or could not be read.
  // Costs one look at the file's size and times.
  void RequireIntact() const;

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
  mapping_internal::Slot* slot_ = nullptr;
  struct stat found_ {};  // when it was mapped
};

// Pages of a mapping that are needed soon: the system begins to read them.
void PrefetchPages(std::span<const std::byte> bytes);

// Pages of a mapping that are not needed for now: they no longer count as this process's memory. Reading
// them again brings them back.
void ReleasePages(std::span<const std::byte> bytes);

// read(file.bytes()), whose result comes from an intact file. What `read` has to say about one that was cut
// under its hands is replaced by just that.
template <class Read>
auto ReadIntact(const MappedFile& file, const Read& read) {
  try {
    auto result = read(file.bytes());
    file.RequireIntact();
    return result;
  } catch (const Error&) {
    file.RequireIntact();
    throw;
  }
}

}  // namespace lowbit
