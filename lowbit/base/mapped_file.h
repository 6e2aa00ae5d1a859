// SPDX-License-Identifier: Apache-2.0
// Read-only view of a file's bytes, without copying.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace lowbit {

// Opens a regular file for reading. Directories, pipes and devices are refused before anything could
// block. Throws Error{kMissing} with the system's reason. The caller closes the descriptor.
int OpenRegularFile(const std::string& path);

// The whole of a regular file, mapped. Valid until destroyed; moving keeps the address.
class MappedFile {
 public:
  explicit MappedFile(std::string path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
};

// Pages of a mapping that are needed soon: the system begins to read them.
void PrefetchPages(std::span<const std::byte> bytes);

// Pages of a mapping that are not needed for now: they no longer count as this process's memory. Reading
// them again brings them back.
void ReleasePages(std::span<const std::byte> bytes);

}  // namespace lowbit
