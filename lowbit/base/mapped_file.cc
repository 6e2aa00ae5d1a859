// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "lowbit/base/error.h"

namespace lowbit {

int OpenRegularFile(const std::string& path) {
  // O_NONBLOCK: opening a named pipe would otherwise wait for its writer.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    throw Error(ErrorKind::kMissing, Place(path), fmt::format("cannot open: {}", std::strerror(errno)));
  }
  struct stat info {};
  const bool known = fstat(fd, &info) == 0;
  if (known && S_ISREG(info.st_mode)) return fd;
  close(fd);
  throw Error(ErrorKind::kMissing, Place(path),
              known && S_ISDIR(info.st_mode) ? "is a folder, expected a file" : "not a regular file");
}

MappedFile::MappedFile(std::string path) : path_(std::move(path)) {
  const int fd = OpenRegularFile(path_);
  struct stat info {};
  if (fstat(fd, &info) != 0) {
    close(fd);
    throw Error(ErrorKind::kMissing, Place(path_), fmt::format("cannot stat: {}", std::strerror(errno)));
  }
  const auto size = static_cast<size_t>(info.st_size);
  if (size > 0) {
    void* data = mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
    const int reason = errno;
    close(fd);
    if (data == MAP_FAILED) {
      throw Error(ErrorKind::kResource, Place(path_),
                  fmt::format("cannot map {} bytes: {}", size, std::strerror(reason)));
    }
    bytes_ = {static_cast<const std::byte*>(data), size};
  } else {
    close(fd);
  }
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)), bytes_(std::exchange(other.bytes_, {})) {}

namespace {

// Advice needs whole pages: the span grows to its pages' borders. What it shares pages with is only read
// again.
void Advise(std::span<const std::byte> bytes, int advice) {
  if (bytes.empty()) return;
  static const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(bytes.data()) / page * page;
  const auto end = reinterpret_cast<uintptr_t>(bytes.data() + bytes.size());
  madvise(reinterpret_cast<void*>(begin), end - begin, advice);  // a hint: it may fail
}

}  // namespace

void PrefetchPages(std::span<const std::byte> bytes) {
  Advise(bytes, MADV_WILLNEED);
}
void ReleasePages(std::span<const std::byte> bytes) {
  Advise(bytes, MADV_DONTNEED);
}

}  // namespace lowbit
