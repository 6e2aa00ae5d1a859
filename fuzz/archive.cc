// SPDX-License-Identifier: Apache-2.0
// Archives, by the format their first byte is of: whatever pieces they are read in, the text is the same or all are
// refused, and the objects of its lines are those of the same text in memory.
#include <algorithm>

#include "fuzz/target.h"
#include "lowbit/text/text_file.h"

namespace lowbit::fuzz {
namespace {

constexpr size_t kMostText = size_t{1} << 19;  // a small file may stand for gigabytes

struct Outcome {
  std::string text, refusal;
};

Outcome Read(std::string_view input, Compression compression, size_t piece) {
  Outcome outcome;
  Accepts(input, [&] {
    try {
      ArchiveReader reader(Bytes(input), compression, Place("file"));
      std::string part(piece, '\0');
      for (size_t got = piece; got == piece && outcome.text.size() < kMostText;) {
        got = reader.Read(part);
        outcome.text.append(part, 0, got);
      }
    } catch (const Error& error) {
      outcome.refusal = error.what();
      throw;
    }
  });
  return outcome;
}

struct Lines {
  std::vector<Json> objects;
  std::string refusal;
};

template <class Visit>
Lines LinesOf(std::string_view input, const Visit& visit) {
  Lines lines;
  Accepts(input, [&] {
    try {
      visit([&](size_t, const Json& object) { lines.objects.push_back(object); });
    } catch (const Error& error) {
      lines.refusal = error.what();
      throw;
    }
  });
  return lines;
}

}  // namespace

LOWBIT_FUZZ_TARGET(archive) {
  const Compression compression = input.starts_with('\x1F') ? Compression::kGzip : Compression::kZstd;
  const Outcome large = Read(input, compression, size_t{1} << 16);
  if (large.text.size() >= kMostText) return;
  const Outcome small = Read(input, compression, 61);
  // Not word for word: a library that is given a whole frame finds other damage first than in small pieces.
  Require(large.refusal.empty() == small.refusal.empty(),
          large.refusal + " | in small pieces: " + small.refusal);
  // Before a refusal come as many bytes as whole pieces hold.
  const size_t both = std::min(large.text.size(), small.text.size());
  Require(large.text.substr(0, both) == small.text.substr(0, both), "another text in small pieces");
  Require(!large.refusal.empty() || large.text.size() == small.text.size(), "a longer text in small pieces");

  const JsonLineLimits limits = {.max_line_bytes = 4096, .max_depth = 16};
  const Lines lines = LinesOf(input, [&](const JsonLineCallback& keep) {
    ForEachJsonLineIn(Bytes(input), compression, Place("file"), keep, limits);
  });
  if (!large.refusal.empty()) {
    Require(lines.refusal.find("of the archive") != std::string::npos,
            lines.refusal + " | expected: " + large.refusal);
    return;
  }
  const Lines expected = LinesOf(input, [&](const JsonLineCallback& keep) {
    ForEachJsonLineIn(large.text, Place("file"), keep, limits);
  });
  Require(lines.refusal == expected.refusal, lines.refusal + " | of the text: " + expected.refusal);
  Require(lines.objects == expected.objects, "other objects than of the text");
}

}  // namespace lowbit::fuzz
