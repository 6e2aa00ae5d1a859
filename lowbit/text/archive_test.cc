// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/archive.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "lowbit/base/test_folder.h"
#include "lowbit/text/archive_testing.h"
#include "lowbit/text/text_file.h"

namespace lowbit {
namespace {

using testing::HasSubstr;
using text_testing::Compressed;

constexpr std::array kFormats = {Compression::kGzip, Compression::kZstd};

std::string NameOf(Compression compression, std::string_view stem = "x.jsonl") {
  return std::string(stem) + (compression == Compression::kGzip ? ".gz" : ".zst");
}

std::span<const std::byte> Bytes(const std::string& text) {
  return std::as_bytes(std::span(text));
}

// The text of an archive, read in pieces of `piece` bytes.
std::string TextOf(const std::string& archive, Compression compression, size_t piece) {
  ArchiveReader reader(Bytes(archive), compression, Place("x"));
  std::string text, part(piece, '\0');
  for (size_t got = piece; got == piece;) {
    got = reader.Read(part);
    text.append(part, 0, got);
  }
  return text;
}

std::string ErrorOf(const std::string& archive, Compression compression) {
  try {
    TextOf(archive, compression, 1000);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kContent);
    EXPECT_EQ(error.place().file(), "x");
    return error.what();
  }
  return "accepted";
}

// Text that compresses a little, so that archives have some length.
std::string SomeText(size_t bytes) {
  std::string text;
  uint32_t state = 1;
  while (text.size() < bytes) {
    state = state * 1664525 + 1013904223;
    text += fmt::format("{} bits cost {}\n", state >> 28, state >> 8);
  }
  text.resize(bytes);
  return text;
}

TEST(Compression, FollowsFromTheName) {
  EXPECT_EQ(CompressionOf("a/c4.jsonl.gz"), Compression::kGzip);
  EXPECT_EQ(CompressionOf("c4.txt.zst"), Compression::kZstd);
  EXPECT_EQ(CompressionOf("c4.gz.txt"), Compression::kNone);
  EXPECT_EQ(WithoutCompression("a/c4.jsonl.gz"), "a/c4.jsonl");
  EXPECT_EQ(WithoutCompression("c4.txt"), "c4.txt");
  EXPECT_TRUE(IsJsonLinesName("c4-train.00000-of-01024.json.gz"));
  EXPECT_TRUE(IsJsonLinesName("c4.jsonl"));
  EXPECT_FALSE(IsJsonLinesName("c4.txt.zst"));
}

TEST(Archive, GivesTheTextWhateverThePieces) {
  for (const Compression format : kFormats) {
    for (const size_t bytes : {0, 1, 999, 1000, 1001, 300000}) {
      const std::string text = SomeText(bytes), archive = Compressed(text, format);
      for (const size_t piece : {1, 7, 1000, 65536, 400000}) {
        if (bytes > 1001 && piece == 1) continue;
        EXPECT_EQ(TextOf(archive, format, piece), text) << bytes << " in pieces of " << piece;
      }
      EXPECT_EQ(TextBytesOf(Bytes(archive), format, Place("x"), 1 << 20), bytes);
    }
  }
}

TEST(Archive, PartsInARowAreOneText) {
  for (const Compression format : kFormats) {
    const std::string one = SomeText(5000), archive = Compressed(one, format);
    const std::string empty = Compressed("", format);
    EXPECT_EQ(TextOf(archive + empty + archive, format, 1000), one + one);
    EXPECT_EQ(TextOf(empty + empty, format, 10), "");
  }
  const std::string skipped("\x50\x2A\x4D\x18\x03\0\0\0abc", 11);  // a frame that says nothing
  EXPECT_EQ(TextOf(skipped + Compressed("text", Compression::kZstd) + skipped, Compression::kZstd, 10),
            "text");
}

TEST(Archive, CutAnywhereItSaysSo) {
  for (const Compression format : kFormats) {
    const std::string whole = Compressed(SomeText(400), format);
    EXPECT_THAT(ErrorOf("", format), HasSubstr("byte 0 of the archive: is empty, expected "));
    for (size_t bytes = 1; bytes < whole.size(); ++bytes) {
      const std::string error = ErrorOf(whole.substr(0, bytes), format);
      EXPECT_THAT(error, HasSubstr("it was cut")) << bytes;
      EXPECT_THAT(error, HasSubstr(fmt::format("x: byte {} of the archive: ", bytes)));
      EXPECT_THAT(ErrorOf(whole + whole.substr(0, bytes), format), HasSubstr("it was cut"));
    }
  }
}

// Every bit of an archive with a checksum: either it is refused, or the text is the same (a bit of gzip's
// header that means nothing here, such as its time).
TEST(Archive, NoFlippedBitChangesTheText) {
  for (const Compression format : kFormats) {
    const std::string text = SomeText(400), whole = Compressed(text, format);
    size_t refused = 0;
    for (size_t bit = 0; bit < whole.size() * 8; ++bit) {
      std::string archive = whole;
      archive[bit / 8] = static_cast<char>(archive[bit / 8] ^ 1 << bit % 8);
      try {
        EXPECT_EQ(TextOf(archive, format, 1000), text) << bit;
      } catch (const Error& error) {
        EXPECT_THAT(error.place().item(), HasSubstr("of the archive"));
        ++refused;
      }
    }
    EXPECT_GT(refused, whole.size() * 8 - 8 * 8);
  }
}

TEST(Archive, RefusesWhatIsNoArchiveAndWhatFollowsOne) {
  for (const Compression format : kFormats) {
    EXPECT_THAT(ErrorOf("{\"text\": \"plain\"}\n", format), HasSubstr("byte 0 of the archive: is not "));
    const std::string whole = Compressed(SomeText(400), format);
    for (const std::string& junk : {std::string("junk"), std::string(512, '\0')}) {
      EXPECT_THAT(ErrorOf(whole + junk, format),
                  HasSubstr(fmt::format("byte {} of the archive: something else follows", whole.size())));
    }
  }
  EXPECT_THAT(ErrorOf(Compressed("a", Compression::kZstd), Compression::kGzip), HasSubstr("is not gzip"));
  EXPECT_THAT(ErrorOf(Compressed("a", Compression::kGzip), Compression::kZstd), HasSubstr("is not Zstand"));
}

TEST(Archive, NamesWrongChecksumsAndLengths) {
  const std::string gzip = Compressed(SomeText(400), Compression::kGzip);
  std::string other = gzip;
  other[other.size() - 5] ^= 1;
  EXPECT_THAT(ErrorOf(other, Compression::kGzip), HasSubstr("incorrect data check"));
  other = gzip;
  other.back() ^= 1;
  EXPECT_THAT(ErrorOf(other, Compression::kGzip), HasSubstr("incorrect length check"));
  other = Compressed(SomeText(400), Compression::kZstd);
  other.back() ^= 1;
  EXPECT_THAT(ErrorOf(other, Compression::kZstd), HasSubstr("checksum"));
}

TEST(Archive, RefusesAWindowOfHundredsOfMegabytes) {
  // A frame's header alone: no single segment, a window of 2^(10 + 17) bytes.
  const std::string frame("\x28\xB5\x2F\xFD\x00\x88\x01\0\0", 9);
  EXPECT_THAT(ErrorOf(frame, Compression::kZstd), HasSubstr("window of more than 32 MiB"));
}

TEST(Archive, LinesAreThoseOfTheText) {
  const TestFolder folder;
  std::string content;
  for (int i = 0; i < 3000; ++i) {
    content += fmt::format("{{\"v\":\"{}\"}}\n", std::string(static_cast<size_t>(i % 97), 'x'));
    if (i % 500 == 7) content += "\r\n";
  }
  const auto lines_of = [](const std::string& path) {
    std::vector<std::string> lines;
    ForEachJsonLine(
        path, [&](size_t line, const Json& o) { lines.push_back(fmt::format("{}{}", line, o.dump())); });
    return lines;
  };
  const std::vector<std::string> plain = lines_of(folder.Write("x.jsonl", content));
  EXPECT_EQ(plain.size(), 3000u);
  for (const Compression format : kFormats) {
    const std::string path = folder.Write(NameOf(format), Compressed(content, format));
    EXPECT_EQ(lines_of(path), plain);
    size_t seen = 0;
    ForEachJsonLineWhile(path, [&](size_t, const Json&) { return ++seen < 5; });
    EXPECT_EQ(seen, 5u);
  }
}

TEST(Archive, AnErrorInALineIsAtItsLineUnlessTheArchiveIsDamaged) {
  const TestFolder folder;
  const std::string content = "{\"v\":1}\n\n{\"v\":]}\n" + std::string(400000, '\n');
  for (const Compression format : kFormats) {
    std::string archive = Compressed(content, format);
    const auto error_of = [&] {
      try {
        ForEachJsonLine(folder.Write(NameOf(format), archive), [](size_t, const Json&) {});
      } catch (const Error& error) {
        return error.place().item();
      }
      return std::string("accepted");
    };
    EXPECT_THAT(error_of(), HasSubstr("line 3: byte 5"));
    archive.back() ^= 1;  // the last byte of its checksum
    EXPECT_THAT(error_of(), HasSubstr("of the archive"));
  }
}

TEST(Archive, TextFilesAreDecodedAndChecked) {
  const TestFolder folder;
  for (const Compression format : kFormats) {
    const auto read = [&](const std::string& text, size_t most = 1 << 20) {
      return ReadTextFile(folder.Write(NameOf(format, "x.txt"), Compressed(text, format)), most);
    };
    EXPECT_EQ(read("\xEF\xBB\xBFone\r\ntwo"), "one\r\ntwo");
    EXPECT_EQ(read(""), "");
    EXPECT_EQ(read("12345", 5), "12345");
    EXPECT_THROW(read("123456", 5), Error);
    try {
      read("ab\xFF");
      ADD_FAILURE() << "accepted";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), HasSubstr("byte 2: not valid UTF-8"));
    }
  }
}

// 256 MB of text in some hundred kB: the limit is met before anything of that size is in memory, and lines
// stream through.
TEST(Archive, ABombIsRefusedByItsLimit) {
  const TestFolder folder;
  for (const Compression format : kFormats) {
    const std::string member = Compressed(std::string(1 << 20, '\n'), format);
    std::string bomb;
    for (int i = 0; i < 256; ++i) bomb += member;
    EXPECT_LT(bomb.size(), size_t{1} << 19);
    const std::string path = folder.Write(NameOf(format), bomb);
    EXPECT_THROW(ReadTextFile(path, 100 << 20), Error);
    EXPECT_EQ(TextBytesOf(Bytes(bomb), format, Place("x"), 1000), size_t{1} << 18) << "read on";
    const std::string line = Compressed("{\"v\":\"" + std::string(1 << 20, 'x'), format);
    EXPECT_THROW(ForEachJsonLine(folder.Write(NameOf(format), line), [](size_t, const Json&) {},
                                 {.max_line_bytes = 100000}),
                 Error);
  }
}

}  // namespace
}  // namespace lowbit
