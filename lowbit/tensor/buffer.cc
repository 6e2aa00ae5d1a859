// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/buffer.h"

#include <sys/mman.h>

#include <cstdlib>
#include <new>

namespace lowbit {
namespace {

// Larger buffers are mappings of their own. In the heap they would leave holes that the next layer's do not
// fit, and memory would grow from layer to layer. Huge pages, where the system has them, make the first touch
// cheap. The sanitizers look after the heap only: there everything stays in it.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kMapped = SIZE_MAX;
#else
constexpr size_t kMapped = size_t{1} << 20;
#endif
constexpr size_t kHugePage = size_t{2} << 20;

size_t RoundUp(size_t bytes, size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

}  // namespace

void* AllocateAligned(size_t bytes) {
  if (bytes < kMapped) {
    void* memory = std::aligned_alloc(kAlignment, RoundUp(bytes, kAlignment));
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
  }
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  if (bytes >= kHugePage) madvise(memory, bytes, MADV_HUGEPAGE);  // a hint: it may fail
  return memory;
}

void FreeAligned(void* memory, size_t bytes) {
  if (bytes < kMapped) {
    std::free(memory);
  } else {
    munmap(memory, bytes);
  }
}

}  // namespace lowbit
