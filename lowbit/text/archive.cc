// SPDX-License-Identifier: Apache-2.0
#include "lowbit/text/archive.h"

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <algorithm>
#include <array>
#include <new>
#include <vector>

#include "lowbit/base/stop.h"

namespace lowbit {
namespace {

struct Suffix {
  std::string_view text;
  Compression compression;
};
constexpr std::array kSuffixes = {Suffix{".gz", Compression::kGzip}, Suffix{".zst", Compression::kZstd}};

// Bytes given to a library at once: zlib counts in 32 bits, and between two pieces a stop is seen.
constexpr size_t kPiece = size_t{1} << 20;

// zstd -19 needs 8 MiB and RFC 8878 asks decoders for that; its own default of 128 MiB is a stranger's wish.
constexpr int kWindowLog = 25;

constexpr std::string_view kGzipMagic = "\x1F\x8B";

}  // namespace

Compression CompressionOf(std::string_view path) {
  for (const Suffix& suffix : kSuffixes) {
    if (path.ends_with(suffix.text)) return suffix.compression;
  }
  return Compression::kNone;
}

std::string_view WithoutCompression(std::string_view path) {
  for (const Suffix& suffix : kSuffixes) {
    if (path.ends_with(suffix.text)) return path.substr(0, path.size() - suffix.text.size());
  }
  return path;
}

// What both formats have in common: parts that begin with a known number, each with an end of its own.
struct ArchiveReader::Decoder {
  Decoder(std::span<const std::byte> archive, Place file) : archive_(archive), file_(std::move(file)) {}
  virtual ~Decoder() = default;

  size_t Read(std::span<char> text) {
    size_t got = 0;
    while (got < text.size()) {
      ThrowIfStopped();
      if (!in_part_) {
        if (at_ == archive_.size() && parts_ > 0) break;
        BeginPart();
      }
      got += Step(text.subspan(got, std::min(text.size() - got, kPiece)));
    }
    return got;
  }

 protected:
  virtual std::string_view Format() const = 0;
  virtual bool BeginsPart(std::span<const std::byte> rest) const = 0;
  virtual void Reset() = 0;
  // Decodes into `text` from the archive's byte at_ on, moves at_ and ends the part at its end. Throws when
  // neither a byte was taken nor one made.
  virtual size_t Step(std::span<char> text) = 0;

  std::span<const std::byte> Ahead() const {
    return archive_.subspan(at_, std::min(archive_.size() - at_, kPiece));
  }

  void EndPart() {
    in_part_ = false;
    ++parts_;
  }

  [[noreturn]] void Refuse(const std::string& message) const {
    throw Error(ErrorKind::kContent, file_.Item(fmt::format("byte {} of the archive", at_)), message);
  }

  [[noreturn]] void RefuseCut() const {
    Refuse(fmt::format("the file ends in the middle of its {} data: it was cut", Format()));
  }

  [[noreturn]] void RefuseDamaged(std::string_view reason) const {
    Refuse(fmt::format("damaged {} data: {}", Format(), reason));
  }

  std::span<const std::byte> archive_;
  size_t at_ = 0;

 private:
  void BeginPart() {
    if (at_ == archive_.size()) Refuse(fmt::format("is empty, expected {} data", Format()));
    if (!BeginsPart(archive_.subspan(at_))) {
      Refuse(parts_ == 0 ? fmt::format("is not {0} data, expected it of a file of this name", Format())
                         : fmt::format("something else follows the end of the {} data", Format()));
    }
    Reset();
    in_part_ = true;
  }

  Place file_;
  bool in_part_ = false;
  size_t parts_ = 0;
};

namespace {

class GzipDecoder final : public ArchiveReader::Decoder {
 public:
  GzipDecoder(std::span<const std::byte> archive, Place file) : Decoder(archive, std::move(file)) {
    constexpr int kGzipOnly = 16 + MAX_WBITS;
    if (inflateInit2(&stream_, kGzipOnly) != Z_OK) throw std::bad_alloc();
  }
  ~GzipDecoder() override { inflateEnd(&stream_); }

 private:
  std::string_view Format() const override { return "gzip"; }

  bool BeginsPart(std::span<const std::byte> rest) const override {
    const std::string_view text(reinterpret_cast<const char*>(rest.data()), rest.size());
    return kGzipMagic.starts_with(text.substr(0, kGzipMagic.size()));
  }

  void Reset() override { inflateReset(&stream_); }

  size_t Step(std::span<char> text) override {
    const std::span<const std::byte> ahead = Ahead();
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(ahead.data()));  // zlib only reads it
    stream_.avail_in = static_cast<uInt>(ahead.size());
    stream_.next_out = reinterpret_cast<Bytef*>(text.data());
    stream_.avail_out = static_cast<uInt>(text.size());
    const int result = inflate(&stream_, Z_NO_FLUSH);
    at_ += ahead.size() - stream_.avail_in;
    const size_t made = text.size() - stream_.avail_out;
    if (result == Z_STREAM_END) {
      EndPart();
    } else if (result == Z_MEM_ERROR) {
      throw std::bad_alloc();
    } else if (result == Z_BUF_ERROR) {
      RefuseCut();  // there was room for more text, so it is bytes of the file that are missing
    } else if (result != Z_OK) {
      RefuseDamaged(stream_.msg == nullptr ? "not what inflate understands" : stream_.msg);
    }
    return made;
  }

  z_stream stream_{};
};

class ZstdDecoder final : public ArchiveReader::Decoder {
 public:
  ZstdDecoder(std::span<const std::byte> archive, Place file)
      : Decoder(archive, std::move(file)), stream_(ZSTD_createDStream(), &ZSTD_freeDStream) {
    if (stream_ == nullptr) throw std::bad_alloc();
    ZSTD_DCtx_setParameter(stream_.get(), ZSTD_d_windowLogMax, kWindowLog);
  }

 private:
  std::string_view Format() const override { return "Zstandard"; }

  bool BeginsPart(std::span<const std::byte> rest) const override {
    if (rest.size() < 4) return true;  // Step finds out that it was cut
    uint32_t magic = 0;
    for (size_t i = 0; i < 4; ++i) magic |= std::to_integer<uint32_t>(rest[i]) << (8 * i);
    return magic == ZSTD_MAGICNUMBER || (magic & ZSTD_MAGIC_SKIPPABLE_MASK) == ZSTD_MAGIC_SKIPPABLE_START;
  }

  void Reset() override { ZSTD_DCtx_reset(stream_.get(), ZSTD_reset_session_only); }

  size_t Step(std::span<char> text) override {
    const std::span<const std::byte> ahead = Ahead();
    ZSTD_inBuffer in = {ahead.data(), ahead.size(), 0};
    ZSTD_outBuffer out = {text.data(), text.size(), 0};
    const size_t result = ZSTD_decompressStream(stream_.get(), &out, &in);
    at_ += in.pos;
    if (ZSTD_isError(result)) RefuseError(ZSTD_getErrorCode(result));
    if (result == 0) {
      EndPart();
    } else if (in.pos == 0 && out.pos == 0) {
      RefuseCut();
    }
    return out.pos;
  }

  [[noreturn]] void RefuseError(ZSTD_ErrorCode code) const {
    if (code == ZSTD_error_memory_allocation) throw std::bad_alloc();
    if (code == ZSTD_error_frameParameter_windowTooLarge) {
      Refuse("needs a window of more than 32 MiB, expected at most that (zstd -19 without --long)");
    }
    RefuseDamaged(ZSTD_getErrorString(code));
  }

  std::unique_ptr<ZSTD_DStream, size_t (*)(ZSTD_DStream*)> stream_;
};

}  // namespace

ArchiveReader::ArchiveReader(std::span<const std::byte> archive, Compression compression, Place file) {
  LOWBIT_ASSERT(compression != Compression::kNone);
  if (compression == Compression::kGzip) {
    decoder_ = std::make_unique<GzipDecoder>(archive, std::move(file));
  } else {
    decoder_ = std::make_unique<ZstdDecoder>(archive, std::move(file));
  }
}

ArchiveReader::~ArchiveReader() = default;

size_t ArchiveReader::Read(std::span<char> text) {
  return decoder_->Read(text);
}

size_t TextBytesOf(std::span<const std::byte> archive, Compression compression, const Place& file,
                   size_t most) {
  ArchiveReader reader(archive, compression, file);
  std::vector<char> part(size_t{1} << 18);
  size_t bytes = 0;
  while (bytes <= most) {
    const size_t got = reader.Read(part);
    bytes += got;
    if (got < part.size()) break;
  }
  return bytes;
}

}  // namespace lowbit
