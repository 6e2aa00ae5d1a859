// SPDX-License-Identifier: Apache-2.0
// Files of bare numbers, which programs in oracle/ exchange with benchmarks.
#pragma once

#include <cstring>
#include <string>

#include "lowbit/base/files.h"
#include "lowbit/tensor/buffer.h"

namespace lowbit {

// Exactly `count` values. Throws Error{kContent} for a file of another size.
template <class T>
Buffer<T> ReadRaw(const std::string& path, size_t count) {
  const std::string bytes = ReadFile(path);
  if (bytes.size() != count * sizeof(T))
    throw Error(ErrorKind::kContent, Place(path),
                fmt::format("{} bytes, expected {}", bytes.size(), count * sizeof(T)));
  Buffer<T> values(count);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace lowbit
