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

}  // namespace lowbit
