// SPDX-License-Identifier: Apache-2.0
// libFuzzer's changes would almost always leave a header whose length is wrong, and go no deeper.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace {
constexpr size_t kLength = 8;

// Changes the header alone, and writes its new length in front.
size_t MutateHeader(uint8_t* data, size_t size, size_t max_size, uint64_t length) {
  const std::string rest(reinterpret_cast<const char*>(data) + kLength + length, size - kLength - length);
  length = LLVMFuzzerMutate(data + kLength, length, max_size - kLength - rest.size());
  std::memcpy(data, &length, kLength);
  std::copy(rest.begin(), rest.end(), data + kLength + length);
  return kLength + length + rest.size();
}
}  // namespace

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned seed) {
  uint64_t length = 0;
  if (size > kLength) std::memcpy(&length, data, kLength);
  const bool is_sound = length > 0 && length <= size - std::min(size, kLength);
  return is_sound && seed % 8 != 0 ? MutateHeader(data, size, max_size, length)
                                   : LLVMFuzzerMutate(data, size, max_size);
}
