// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/stream_decoder.h"

#include <algorithm>
#include <utility>

#include "lowbit/base/utf8.h"

namespace lowbit {
namespace {

// True when some bytes after `tail` could make it one well-formed character. The second byte decides
// (E0 80, say, begins none), so it is enough to try the lowest and the highest continuation.
bool IsBeginningOfCharacter(std::string_view tail) {
  if (tail.empty() || Utf8Length(tail) > 0) return false;
  for (const char continuation : {'\x80', '\xBF'}) {
    std::string whole(tail);
    while (whole.size() < 4) {
      whole += continuation;
      if (Utf8Length(whole) == whole.size()) return true;
    }
  }
  return false;
}

// How many bytes at the end of `bytes` must wait for more.
size_t IncompleteTail(std::string_view bytes) {
  for (size_t length = std::min<size_t>(3, bytes.size()); length > 0; --length) {
    if (IsBeginningOfCharacter(bytes.substr(bytes.size() - length))) return length;
  }
  return 0;
}

}  // namespace

std::string StreamDecoder::Push(int32_t id) {
  if (skip_special_ && tokenizer_.IsSpecial(id)) return "";
  held_ += tokenizer_.TokenBytes(id);
  const size_t certain = held_.size() - IncompleteTail(held_);
  std::string text = ReplaceInvalidUtf8(std::string_view(held_).substr(0, certain));
  held_.erase(0, certain);
  return text;
}

std::string StreamDecoder::Finish() {
  return ReplaceInvalidUtf8(std::exchange(held_, ""));
}

}  // namespace lowbit
