// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/memory.h"

#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <string>

namespace lowbit {
namespace {

constexpr uint64_t kUnlimited = std::numeric_limits<uint64_t>::max();

// The number behind `key` in a file of lines "Key:   123 kB", in bytes; 0 when there is none.
uint64_t KilobytesIn(const char* path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(key)) return std::strtoull(line.c_str() + key.size(), nullptr, 10) * 1024;
  }
  return 0;
}

uint64_t NumberIn(const std::string& path) {  // kUnlimited for "max" and for no file
  std::ifstream file(path);
  uint64_t number = 0;
  return file >> number ? number : kUnlimited;
}

// Of control groups as version 2 shows them to the process inside.
uint64_t LeftInControlGroup() {
  const uint64_t max = NumberIn("/sys/fs/cgroup/memory.max"), now = NumberIn("/sys/fs/cgroup/memory.current");
  if (max == kUnlimited || now == kUnlimited) return kUnlimited;
  return max - std::min(max, now);
}

uint64_t LeftOfLimit(int resource, const char* used_key) {
  rlimit limit{};
  if (getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return kUnlimited;
  }
  const uint64_t used = KilobytesIn("/proc/self/status", used_key);
  return limit.rlim_cur - std::min<uint64_t>(limit.rlim_cur, used);
}

}  // namespace

uint64_t ResidentMemoryBytes() {
  return KilobytesIn("/proc/self/status", "VmRSS:");
}
uint64_t PeakMemoryBytes() {
  return KilobytesIn("/proc/self/status", "VmHWM:");
}

bool ResetPeakMemory() {
  std::ofstream file("/proc/self/clear_refs");
  file << "5" << std::flush;
  return file.good();
}

uint64_t AvailableMemoryBytes() {
  return std::min({KilobytesIn("/proc/meminfo", "MemAvailable:"), LeftInControlGroup(),
                   LeftOfLimit(RLIMIT_DATA, "VmData:"), LeftOfLimit(RLIMIT_AS, "VmSize:")});
}

void UseOneHeap() {
  mallopt(M_ARENA_MAX, 1);
  mallopt(M_MMAP_THRESHOLD, 1 << 20);  // fixed: by itself it grows to what was freed last, up to 32 MiB
}

void TrimMemory() {
  malloc_trim(0);
}

uint64_t MemoryBudget::Bytes() const {
  return bytes > 0 ? bytes : (ResidentMemoryBytes() + AvailableMemoryBytes()) / 5 * 4;
}

uint64_t MemoryBudget::ProgramBytes() const {
  if (program > 0) return program;
  TrimMemory();
  return ResidentMemoryBytes();
}

std::string MemoryBudget::ScratchFolder() const {
  if (!scratch.empty()) return scratch;
  const char* folder = std::getenv("TMPDIR");  // /tmp may be memory
  return folder != nullptr && *folder != '\0' ? folder : "/var/tmp";
}

}  // namespace lowbit
