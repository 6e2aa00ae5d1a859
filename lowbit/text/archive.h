// SPDX-License-Identifier: Apache-2.0
// Texts kept compressed: gzip (RFC 1952) and Zstandard (RFC 8878), as a stream of the bytes they stand for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "lowbit/base/error.h"

namespace lowbit {

enum class Compression : uint8_t { kNone, kGzip, kZstd };

// By the end of the name: ".gz", ".zst". What a file holds is checked when it is read, never guessed.
Compression CompressionOf(std::string_view path);

// "c4.jsonl" of "c4.jsonl.gz": the name that says what the text is.
std::string_view WithoutCompression(std::string_view path);

// Several members or frames, one after the other, are one text, as the formats say. Every checksum is held
// against the text. Memory is that of the formats' windows, whatever the file claims: at most about 32 MiB.
class ArchiveReader {
 public:
  // `archive` is the whole file and must outlive this; `file` is for messages. Not for Compression::kNone.
  ArchiveReader(std::span<const std::byte> archive, Compression compression, Place file);
  ~ArchiveReader();

  // Fills `text` from its start and returns how many bytes came; fewer than it holds only at the end.
  // Throws Error{kContent} at "byte N of the archive" for one that is cut, damaged, followed by something
  // else, or needs a window of more than 32 MiB. Damage lies at byte N or in the megabyte behind it: Zstandard
  // does not say where in what it was given. What was read before it may be wrong.
  size_t Read(std::span<char> text);

  struct Decoder;

 private:
  std::unique_ptr<Decoder> decoder_;
};

// Length of the text of a whole archive, read to its end and kept nowhere. Stops behind `most` bytes.
size_t TextBytesOf(std::span<const std::byte> archive, Compression compression, const Place& file,
                   size_t most);

}  // namespace lowbit
