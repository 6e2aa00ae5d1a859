// SPDX-License-Identifier: Apache-2.0
// SHA-256: the identity of files and settings in every record we keep.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace lowbit {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view text) { Update(std::as_bytes(std::span(text.data(), text.size()))); }
  std::string Hex();  // 64 digits; call once, at the end

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string Sha256Hex(std::string_view text);
std::string Sha256OfFile(const std::string& path);

}  // namespace lowbit
