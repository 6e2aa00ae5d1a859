// SPDX-License-Identifier: Apache-2.0
// Room text: strings <-> tokens, and raw text files. Byte-level BPE as the reference library does it.
// In:  tokenizer.json, UTF-8 text, ids.   Out: the same ids and text as the reference; checked lines of JSON
// Lines. Non-goals: training a tokenizer, other kinds of tokenizers (refused by name), what a task does with
// a line. Start reading here, then tokenizer_file.h (what a file may ask for), pretokenizer.h and bpe.h (the
// work), pair.h (context and continuation) and text_file.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/base/error.h"

namespace lowbit {

// The tokenizer of Qwen2, Qwen3, LLaMA-3, SmolLM2 or GPT-2. All const functions may be called by any
// number of threads at once.
class Tokenizer {
 public:
  // `path` is a tokenizer.json or a folder that holds one; a tokenizer_config.json beside it names the
  // tokens of Bos() and Eos(). Throws Error{kMissing}, or Error{kContent} with the place in the file.
  static Tokenizer Load(const std::string& path);
  // The same from memory, without a tokenizer_config.json; `file` is for messages.
  static Tokenizer Parse(std::string_view json, const Place& file);

  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  // The ids of `text`. With `add_special` also what the file puts around every text (LLaMA-3: its BOS;
  // Qwen and SmolLM2: nothing). Added tokens such as <|im_end|> are recognized either way.
  // Bytes that the vocabulary has no token for are dropped, as the reference does; that happens to control
  // characters and to planes 4 to 16 with SmolLM2, never with Qwen and LLaMA-3.
  // Throws Error{kContent} with the byte offset when `text` is not valid UTF-8: the reference takes
  // Unicode strings only, and replacing would hide a broken file. At most kMaxTextBytes at once.
  std::vector<int32_t> Encode(std::string_view text, bool add_special = true) const;
  static constexpr size_t kMaxTextBytes = size_t{1} << 29;

  // The text of `ids`; with `skip_special` without tokens marked special. Bytes that are not valid UTF-8
  // become U+FFFD. An id without a token (padding rows of an embedding) gives nothing.
  std::string Decode(std::span<const int32_t> ids, bool skip_special = false) const;

  // The bytes a token stands for, possibly part of a character; empty for an id without a token.
  std::string_view TokenBytes(int32_t id) const;

  size_t VocabSize() const;  // largest id + 1

  // Throws Error{kContent} naming the token with the largest id unless it has a row in an embedding of
  // `rows` rows. More rows than tokens are usual (padding).
  void RequireRows(size_t rows) const;

  // Added tokens by their text and by their id.
  std::optional<int32_t> AddedTokenId(std::string_view content) const;
  std::optional<std::string_view> AddedTokenText(int32_t id) const;
  bool IsSpecial(int32_t id) const;

  // bos_token and eos_token of tokenizer_config.json; nullopt where it names none. Without a bos_token there
  // Bos() is the first token that Encode puts before every text, if any. Encode does not look at either.
  std::optional<int32_t> Bos() const;
  std::optional<int32_t> Eos() const;

  const std::string& Hash() const;  // SHA-256 of tokenizer.json, 64 digits
  const Place& place() const;       // the file

 private:
  struct Impl;
  explicit Tokenizer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lowbit
