// SPDX-License-Identifier: Apache-2.0
// Preloaded into lowbit by the fault tests: counts the calls that make files durable (or undo them) below one
// folder, and at the N-th of them fails or kills the process.
//   LOWBIT_FAULT_FOLDER  absolute path; calls on other files pass and do not count
//   LOWBIT_FAULT_AT      N, from 1; 0 or unset: count only
//   LOWBIT_FAULT_MODE    fail (once), fail-on (from N on), short (a write takes half),
//                        kill-before, kill-half (a write takes half, then the end), kill-after
//   LOWBIT_FAULT_ERRNO   for fail and fail-on
//   LOWBIT_FAULT_LOG     a file that gets one line per counted call
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum Mode { kCount, kFail, kFailOn, kShort, kKillBefore, kKillHalf, kKillAfter };
enum Verdict { kPass, kFailNow, kHalf, kHalfThenKill, kThenKill };

enum { kMaxFiles = 4096 };
static atomic_bool watched[kMaxFiles];  // descriptors of files below the folder, open for writing
static atomic_int calls;
static const char* folder;
static int fail_at, fail_errno, log_fd = -1;
static enum Mode mode;

__attribute__((constructor)) static void Configure(void) {
  static const char* const kNames[] = {"count",       "fail",      "fail-on",   "short",
                                       "kill-before", "kill-half", "kill-after"};
  folder = getenv("LOWBIT_FAULT_FOLDER");
  const char* at = getenv("LOWBIT_FAULT_AT");
  const char* code = getenv("LOWBIT_FAULT_ERRNO");
  const char* name = getenv("LOWBIT_FAULT_MODE");
  const char* log = getenv("LOWBIT_FAULT_LOG");
  fail_at = at != NULL ? atoi(at) : 0;
  fail_errno = code != NULL ? atoi(code) : EIO;
  for (int i = 0; name != NULL && i <= kKillAfter; ++i) {
    if (strcmp(name, kNames[i]) == 0) mode = (enum Mode)i;
  }
  if (log != NULL) {
    log_fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  }
}

static int IsBelowFolder(const char* path) {
  if (folder == NULL || path == NULL) return 0;
  const size_t length = strlen(folder);
  return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == '\0');
}

static int IsWatched(int fd) {
  return fd >= 0 && fd < kMaxFiles && atomic_load(&watched[fd]);
}

static void Die(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

static enum Verdict Count(const char* name, const char* path) {
  const int n = atomic_fetch_add(&calls, 1) + 1;
  if (log_fd >= 0) {
    char line[512];
    const int length = snprintf(line, sizeof line, "%d %s %s\n", n, name, path);
    if (length > 0)
      syscall(SYS_write, log_fd, line, (size_t)length < sizeof line ? (size_t)length : sizeof line);
  }
  if (fail_at <= 0 || n < fail_at) return kPass;
  if (mode == kFailOn) return kFailNow;
  if (n > fail_at) return kPass;
  switch (mode) {
    case kFail:
      return kFailNow;
    case kShort:
      return kHalf;
    case kKillBefore:
      Die();
      return kPass;
    case kKillHalf:
      return kHalfThenKill;
    case kKillAfter:
      return kThenKill;
    default:
      return kPass;
  }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

// Makes the call, or not, as the verdict says.
#define COUNTED(name, path, call)                 \
  const enum Verdict verdict = Count(name, path); \
  if (verdict == kFailNow) {                      \
    errno = fail_errno;                           \
    return -1;                                    \
  }                                               \
  if (verdict == kHalfThenKill) Die();            \
  const __typeof__(call) result = (call);         \
  if (verdict == kThenKill) Die();                \
  return result

#define COUNTED_WRITE(name, half, whole)                                                  \
  const enum Verdict verdict = Count(name, "");                                           \
  if (verdict == kFailNow) {                                                              \
    errno = fail_errno;                                                                   \
    return -1;                                                                            \
  }                                                                                       \
  const ssize_t result = verdict == kHalf || verdict == kHalfThenKill ? (half) : (whole); \
  if (verdict == kThenKill || verdict == kHalfThenKill) Die();                            \
  return result

static int Watch(int fd, int flags) {
  if (fd >= 0 && fd < kMaxFiles && (flags & O_ACCMODE) != O_RDONLY) atomic_store(&watched[fd], 1);
  return fd;
}

static int Open(int (*real)(const char*, int, ...), const char* path, int flags, mode_t permissions) {
  if (!IsBelowFolder(path)) return real(path, flags, permissions);
  if ((flags & O_CREAT) == 0) return Watch(real(path, flags, permissions), flags);
  COUNTED("open", path, Watch(real(path, flags, permissions), flags));
}

#define DEFINE_OPEN(name)                              \
  int name(const char* path, int flags, ...) {         \
    mode_t permissions = 0;                            \
    if ((flags & O_CREAT) != 0) {                      \
      va_list rest;                                    \
      va_start(rest, flags);                           \
      permissions = va_arg(rest, mode_t);              \
      va_end(rest);                                    \
    }                                                  \
    return Open(REAL(name), path, flags, permissions); \
  }
DEFINE_OPEN(open)
DEFINE_OPEN(open64)

ssize_t write(int fd, const void* bytes, size_t count) {
  if (!IsWatched(fd)) return REAL(write)(fd, bytes, count);
  COUNTED_WRITE("write", REAL(write)(fd, bytes, (count + 1) / 2), REAL(write)(fd, bytes, count));
}

#define DEFINE_PWRITE(name, offset_type)                                                                   \
  ssize_t name(int fd, const void* bytes, size_t count, offset_type at) {                                  \
    if (!IsWatched(fd)) return REAL(name)(fd, bytes, count, at);                                           \
    COUNTED_WRITE("pwrite", REAL(name)(fd, bytes, (count + 1) / 2, at), REAL(name)(fd, bytes, count, at)); \
  }
DEFINE_PWRITE(pwrite, off_t)
DEFINE_PWRITE(pwrite64, off64_t)

#define DEFINE_ON_FD(name, parameters, arguments)    \
  int name parameters {                              \
    if (!IsWatched(fd)) return REAL(name) arguments; \
    COUNTED(#name, "", REAL(name) arguments);        \
  }
DEFINE_ON_FD(fdatasync, (int fd), (fd))
DEFINE_ON_FD(ftruncate, (int fd, off_t length), (fd, length))
DEFINE_ON_FD(ftruncate64, (int fd, off64_t length), (fd, length))

// Folders are synced through descriptors that are open for reading.
int fsync(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  path[length > 0 ? length : 0] = '\0';
  if (!IsBelowFolder(path)) return REAL(fsync)(fd);
  COUNTED("fsync", path, REAL(fsync)(fd));
}

int close(int fd) {
  if (!IsWatched(fd)) return REAL(close)(fd);
  atomic_store(&watched[fd], 0);
  const enum Verdict verdict = Count("close", "");
  if (verdict == kHalfThenKill) Die();
  const int result = REAL(close)(fd);  // as the kernel does, also when it reports an error
  if (verdict == kThenKill) Die();
  if (verdict != kFailNow) return result;
  errno = fail_errno;
  return -1;
}

#define DEFINE_ON_PATH(name, parameters, arguments)        \
  int name parameters {                                    \
    if (!IsBelowFolder(path)) return REAL(name) arguments; \
    COUNTED(#name, path, REAL(name) arguments);            \
  }
DEFINE_ON_PATH(rename, (const char* from, const char* path), (from, path))
DEFINE_ON_PATH(link, (const char* from, const char* path), (from, path))
DEFINE_ON_PATH(unlink, (const char* path), (path))
DEFINE_ON_PATH(rmdir, (const char* path), (path))
DEFINE_ON_PATH(remove, (const char* path), (path))
DEFINE_ON_PATH(mkdir, (const char* path, mode_t permissions), (path, permissions))

// std::filesystem::remove_all walks with descriptors of folders.
int unlinkat(int at, const char* path, int flags) {
  char link[64], below[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", at);
  const ssize_t length = at == AT_FDCWD ? 0 : readlink(link, below, sizeof below - 1);
  below[length > 0 ? length : 0] = '\0';
  if (!IsBelowFolder(at == AT_FDCWD ? path : below)) return REAL(unlinkat)(at, path, flags);
  COUNTED("unlinkat", path, REAL(unlinkat)(at, path, flags));
}
