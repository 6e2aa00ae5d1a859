// SPDX-License-Identifier: Apache-2.0
#include "fuzz/peak_memory.h"

#include <algorithm>
#include <atomic>
#include <cstdint>

// Of the sanitizers' runtime; absent in a build without them.
extern "C" {
__attribute__((weak)) int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*,
                                                                                      size_t),
                                                                    void (*on_free)(const volatile void*));
__attribute__((weak)) size_t __sanitizer_get_allocated_size(const volatile void*);
}

namespace lowbit::fuzz {
namespace {

std::atomic<int64_t> live = 0, peak = 0;

void OnMalloc(const volatile void*, size_t bytes) {
  const int64_t now = live += static_cast<int64_t>(bytes);
  int64_t most = peak;
  while (now > most && !peak.compare_exchange_weak(most, now)) {
  }
}

void OnFree(const volatile void* memory) {
  if (memory != nullptr) live -= static_cast<int64_t>(__sanitizer_get_allocated_size(memory));
}

}  // namespace

PeakMemory::PeakMemory() {
  static const bool counts = __sanitizer_install_malloc_and_free_hooks != nullptr &&
                             __sanitizer_install_malloc_and_free_hooks(&OnMalloc, &OnFree) != 0;
  if (!counts) return;
  live = 0;
  peak = 0;
}

size_t PeakMemory::bytes() const {
  return static_cast<size_t>(std::max<int64_t>(0, peak));
}

}  // namespace lowbit::fuzz
