// SPDX-License-Identifier: Apache-2.0
// What every fuzz target is made of: an input, a parser, and what must hold whatever the input is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace lowbit::fuzz {

// Runs `parse` on `input` and says whether it accepted it. A refusal must be an Error that is of use to who
// gave us the file: of the input's kinds, with a place, on one line, free of control characters. Whatever
// numbers the input claims, at most 64 MiB and twice its size may be in use at once. Throws Violation.
bool Accepts(std::string_view input, const std::function<void()>& parse);

// Throws Violation unless `holds`. Nobody catches it under libFuzzer: the input is kept as a finding.
void Require(bool holds, std::string_view what);

inline std::span<const std::byte> Bytes(std::string_view text) {
  return std::as_bytes(std::span(text.data(), text.size()));
}

using Target = void (*)(std::string_view input);
int Register(std::string_view name, Target target);  // for fuzz_replay_test

}  // namespace lowbit::fuzz

// Defines target NAME: one program of libFuzzer, or one row of fuzz_replay_test.
#if defined(LOWBIT_FUZZ_REPLAY)
#define LOWBIT_FUZZ_TARGET(name)                                                                       \
  static void Fuzz_##name(std::string_view input);                                                     \
  [[maybe_unused]] static const int registered_##name = ::lowbit::fuzz::Register(#name, &Fuzz_##name); \
  static void Fuzz_##name(std::string_view input)
#else
#define LOWBIT_FUZZ_TARGET(name)                                            \
  static void Fuzz_##name(std::string_view input);                          \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { \
    Fuzz_##name({reinterpret_cast<const char*>(data), size});               \
    return 0;                                                               \
  }                                                                         \
  static void Fuzz_##name(std::string_view input)
#endif
