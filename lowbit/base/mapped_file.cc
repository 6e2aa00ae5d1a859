// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

namespace lowbit {
namespace mapping_internal {

// A live mapping, as the signal handler finds it. Slots are used again and never freed, so that the handler
// can walk them whatever other threads do.
struct Slot {
  std::atomic<uintptr_t> begin = 0;  // 0: free
  std::atomic<size_t> size = 0;
  std::atomic<bool> damaged = false;
  Slot* next = nullptr;
};

}  // namespace mapping_internal

namespace {

using mapping_internal::Slot;

std::atomic<Slot*> first_slot = nullptr;
std::mutex slots_mutex;  // of those who take a slot; the handler takes no lock
struct sigaction action_before {};

static_assert(std::atomic<uintptr_t>::is_always_lock_free && std::atomic<bool>::is_always_lock_free &&
                  std::atomic<Slot*>::is_always_lock_free,
              "a signal handler must not wait");

Slot* SlotAt(uintptr_t address) {
  for (Slot* slot = first_slot; slot != nullptr; slot = slot->next) {
    const uintptr_t begin = slot->begin;
    if (begin != 0 && address >= begin && address - begin < slot->size) return slot;
  }
  return nullptr;
}

// Zeros in place of the whole mapping: the thread that was stopped reads on, and no other page of it faults.
// The system call itself, because sanitizers put code of their own around mmap.
bool ReplaceByZeros(const Slot& slot) {
#if defined(SYS_mmap)
  const auto begin = static_cast<uintptr_t>(slot.begin);
  const long result = syscall(SYS_mmap, begin, static_cast<size_t>(slot.size), PROT_READ,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  return result == static_cast<long>(begin);
#else
  return mmap(reinterpret_cast<void*>(static_cast<uintptr_t>(slot.begin)), slot.size, PROT_READ,
              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED;
#endif
}

// A page of a mapped file that is not there: its file was cut, or its disk failed.
void OnBusError(int signal, siginfo_t* info, void*) {
  const int saved = errno;
  Slot* slot = info->si_code > 0 ? SlotAt(reinterpret_cast<uintptr_t>(info->si_addr)) : nullptr;
  if (slot != nullptr) {
    slot->damaged = true;  // before anyone can read a zero
    if (ReplaceByZeros(*slot)) {
      errno = saved;
      return;
    }
  }
  // None of ours: what would have happened without us. The signal is held back until we return.
  sigaction(signal, &action_before, nullptr);
  raise(signal);
  errno = saved;
}

void InstallHandler() {
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_sigaction = &OnBusError;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    return sigaction(SIGBUS, &action, &action_before) == 0;
  }();
  static_cast<void>(installed);
}

Slot* TakeSlot(std::span<const std::byte> bytes) {
  InstallHandler();
  const std::lock_guard lock(slots_mutex);
  Slot* slot = first_slot;
  while (slot != nullptr && slot->begin != 0) slot = slot->next;
  const bool is_new = slot == nullptr;
  if (is_new) slot = new Slot;
  slot->damaged = false;
  slot->size = bytes.size();
  slot->begin = reinterpret_cast<uintptr_t>(bytes.data());
  if (is_new) {
    slot->next = first_slot;
    first_slot = slot;
  }
  return slot;
}

bool SameTime(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

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
  if (fstat(fd, &found_) != 0) {
    const int reason = errno;
    close(fd);
    throw Error(ErrorKind::kMissing, Place(path_), fmt::format("cannot stat: {}", std::strerror(reason)));
  }
  const auto size = static_cast<size_t>(found_.st_size);
  void* data = size > 0 ? mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0) : nullptr;
  const int reason = errno;
  close(fd);
  if (data == MAP_FAILED) {
    throw Error(ErrorKind::kResource, Place(path_),
                fmt::format("cannot map {} bytes: {}", size, std::strerror(reason)));
  }
  if (size == 0) return;
  bytes_ = {static_cast<const std::byte*>(data), size};
  slot_ = TakeSlot(bytes_);
}

MappedFile::~MappedFile() {
  if (slot_ == nullptr) return;
  slot_->begin = 0;  // first: the address may be another's as soon as it is free
  munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      bytes_(std::exchange(other.bytes_, {})),
      slot_(std::exchange(other.slot_, nullptr)),
      found_(other.found_) {}

void MappedFile::RequireIntact() const {
  const auto refuse = [&](std::string_view what) {
    throw Error(
        ErrorKind::kContent, Place(path_),
        fmt::format("was {} while in use: expected {} bytes that stay as they are", what, found_.st_size));
  };
  if (slot_ != nullptr && slot_->damaged) refuse("cut or could not be read");
  // A cut inside the last page raises no signal, and neither do new bytes in place of the old ones.
  struct stat now {};
  if (stat(path_.c_str(), &now) != 0) return;  // deleted: its bytes are ours as long as they are mapped
  if (now.st_dev != found_.st_dev || now.st_ino != found_.st_ino) return;  // another file under this name
  if (now.st_size < found_.st_size) refuse(fmt::format("cut to {} bytes", now.st_size));
  if (now.st_size > found_.st_size || !SameTime(now.st_mtim, found_.st_mtim)) refuse("written to");
}

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
