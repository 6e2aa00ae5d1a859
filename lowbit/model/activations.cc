// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/activations.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace lowbit {
namespace {

// A file that goes away with its descriptor. Not every file system makes one without a name.
int OpenScratchFile(const std::string& folder) {
  const int fd = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd >= 0) return fd;
  std::string name = folder + "/.lowbit-scratch-XXXXXX";
  const int named = mkostemp(name.data(), O_CLOEXEC);
  if (named >= 0) unlink(name.c_str());
  return named;
}

}  // namespace

Activations::Activations(size_t rows, size_t cols) : rows_(rows), cols_(cols), held_(rows, cols) {}

Activations::Activations(size_t rows, size_t cols, const std::string& folder, size_t held)
    : rows_(rows), cols_(cols), folder_(folder), file_(OpenScratchFile(folder)), held_(held, cols) {
  if (file_ < 0) Fail("create a scratch file");
  // All of it now: better refused at the start than in the middle.
  const int reason = posix_fallocate(file_, 0, static_cast<off_t>(rows * cols * sizeof(float)));
  if (reason == 0 || reason == EOPNOTSUPP) return;
  close(file_);
  errno = reason;
  Fail(fmt::format("reserve {} bytes for activations", rows * cols * sizeof(float)).c_str());
}

Activations::~Activations() {
  if (file_ >= 0) close(file_);
}

void Activations::Fail(const char* action) const {
  throw Error(ErrorKind::kResource, Place(folder_),
              fmt::format("cannot {}: {}", action, std::strerror(errno)))
      .Hint("name a folder on another disk with --scratch");
}

MatView<float> Activations::Load(size_t first, size_t count, bool fresh) {
  if (file_ < 0) return held_.view().Rows(first, count);
  LOWBIT_ASSERT(count <= held_.rows() && first + count <= rows_);
  first_ = first;
  count_ = count;
  auto* to = reinterpret_cast<std::byte*>(held_.data());
  size_t left = fresh ? 0 : count * cols_ * sizeof(float);
  auto at = static_cast<off_t>(first * cols_ * sizeof(float));
  while (left > 0) {
    const ssize_t n = pread(file_, to, left, at);
    if (n < 0 && errno == EINTR) continue;
    if (n == 0) errno = EIO;  // the file has its full length
    if (n <= 0) Fail("read activations back");
    to += n;
    at += n;
    left -= static_cast<size_t>(n);
  }
  return held_.view().Rows(0, count);
}

void Activations::Store() {
  if (file_ < 0) return;
  const auto* from = reinterpret_cast<const std::byte*>(held_.data());
  size_t left = count_ * cols_ * sizeof(float);
  auto at = static_cast<off_t>(first_ * cols_ * sizeof(float));
  while (left > 0) {
    const ssize_t n = pwrite(file_, from, left, at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) Fail("write activations");
    from += n;
    at += n;
    left -= static_cast<size_t>(n);
  }
}

}  // namespace lowbit
