// SPDX-License-Identifier: Apache-2.0
// For tests: making the archives that archive.h reads.
#pragma once

#include <zlib.h>
#include <zstd.h>

#include <stdexcept>
#include <string>

#include "lowbit/text/archive.h"

namespace lowbit::text_testing {

inline std::string Gzip(std::string_view text) {
  z_stream stream{};
  constexpr int kGzipFormat = 16 + MAX_WBITS;
  if (deflateInit2(&stream, 6, Z_DEFLATED, kGzipFormat, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::runtime_error("deflateInit2");
  std::string archive(deflateBound(&stream, text.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(archive.data());
  stream.avail_out = static_cast<uInt>(archive.size());
  const int result = deflate(&stream, Z_FINISH);
  archive.resize(stream.total_out);
  deflateEnd(&stream);
  if (result != Z_STREAM_END) throw std::runtime_error("deflate");
  return archive;
}

// With a checksum, as the zstd program writes it.
inline std::string Zstd(std::string_view text) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  std::string archive(ZSTD_compressBound(text.size()), '\0');
  const size_t bytes = ZSTD_compress2(context, archive.data(), archive.size(), text.data(), text.size());
  ZSTD_freeCCtx(context);
  if (ZSTD_isError(bytes)) throw std::runtime_error("ZSTD_compress2");
  archive.resize(bytes);
  return archive;
}

inline std::string Compressed(std::string_view text, Compression compression) {
  return compression == Compression::kGzip ? Gzip(text) : Zstd(text);
}

}  // namespace lowbit::text_testing
