// SPDX-License-Identifier: Apache-2.0
#include "fuzz/target.h"

#include <stdexcept>

#include "fuzz/peak_memory.h"
#include "lowbit/base/error.h"
#include "lowbit/base/utf8.h"

namespace lowbit::fuzz {
namespace {

bool IsOfInput(ErrorKind kind) {
  return kind == ErrorKind::kContent || kind == ErrorKind::kNumeric || kind == ErrorKind::kMissing ||
         kind == ErrorKind::kUsage;
}

void CheckRefusal(const Error& error) {
  const std::string text = error.what();
  const auto require = [&](bool holds, std::string_view what) {
    Require(holds, std::string(what) + ": " + text);
  };
  require(IsOfInput(error.kind()), "a refusal of the wrong kind");
  require(!error.place().Text().empty(), "a refusal without a place");
  require(!error.message().empty(), "a refusal without a message");
  require(FirstInvalidUtf8(text) == std::string::npos, "a refusal that is not UTF-8");
  for (const char c : text) {
    require(static_cast<unsigned char>(c) >= 0x20 && c != 0x7F, "a control character in a refusal");
  }
}

}  // namespace

void Require(bool holds, std::string_view what) {
  if (!holds) throw std::logic_error(std::string(what));
}

bool Accepts(std::string_view input, const std::function<void()>& parse) {
  constexpr size_t kFree = size_t{64} << 20;
  const PeakMemory memory;
  bool accepted = true;
  try {
    parse();
  } catch (const Error& error) {
    CheckRefusal(error);
    accepted = false;
  }
  Require(memory.bytes() <= kFree + 2 * input.size(), "more memory than the input is worth");
  return accepted;
}

}  // namespace lowbit::fuzz
