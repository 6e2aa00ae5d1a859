// SPDX-License-Identifier: Apache-2.0
#include "lowbit/base/hash.h"

#include <openssl/evp.h>

#include <algorithm>

#include "lowbit/base/error.h"
#include "lowbit/base/mapped_file.h"
#include "lowbit/base/stop.h"

namespace lowbit {

struct Sha256::Impl {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Impl() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
  if (impl_->context == nullptr || EVP_DigestInit_ex(impl_->context, EVP_sha256(), nullptr) != 1) {
    throw Error(ErrorKind::kResource, "libcrypto cannot start SHA-256");
  }
}
Sha256::~Sha256() = default;
Sha256::Sha256(Sha256&&) noexcept = default;

void Sha256::Update(std::span<const std::byte> bytes) {
  constexpr size_t kPiece = size_t{1} << 24;  // between two looks for a request to stop: about 10 ms
  while (!bytes.empty()) {
    ThrowIfStopped();
    const std::span<const std::byte> piece = bytes.first(std::min(bytes.size(), kPiece));
    EVP_DigestUpdate(impl_->context, piece.data(), piece.size());
    bytes = bytes.subspan(piece.size());
  }
}

std::string Sha256::Hex() {
  std::array<unsigned char, 32> digest{};
  unsigned length = 0;
  EVP_DigestFinal_ex(impl_->context, digest.data(), &length);
  std::string out;
  for (const unsigned char b : digest) out += fmt::format("{:02x}", b);
  return out;
}

std::string Sha256Hex(std::string_view text) {
  Sha256 hash;
  hash.Update(text);
  return hash.Hex();
}

std::string Sha256OfFile(const std::string& path) {
  return ReadIntact(MappedFile(path), [](std::span<const std::byte> bytes) {
    Sha256 hash;
    hash.Update(bytes);
    return hash.Hex();
  });
}

}  // namespace lowbit
