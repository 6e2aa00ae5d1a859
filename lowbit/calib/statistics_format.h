// SPDX-License-Identifier: Apache-2.0
// What writing and reading of statistics share. Used by statistics_*.cc only.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "lowbit/base/hash.h"
#include "lowbit/tensor/view.h"

namespace lowbit {

inline constexpr std::string_view kStatisticsVersionKey = "lowbit_statistics";
inline constexpr std::string_view kStatisticsVersion = "1";
inline constexpr std::string_view kOriginKey = "origin";
inline constexpr std::string_view kContentKey = "content";
inline constexpr std::string_view kTapKey = "tap:";          // followed by the tap's name
inline constexpr std::string_view kExpertsKey = "experts:";  // followed by the layer's prefix

// No linear is wider; products of two widths stay far from 2^64.
inline constexpr uint64_t kWidestTap = uint64_t{1} << 24;

inline Shape GramShape(size_t width) {
  return {width * (width + 1) / 2, sizeof(double)};
}

// SHA-256 over the metadata but "content", then the tensors in the order of the file, each after its name.
class StatisticsHash {
 public:
  explicit StatisticsHash(const std::map<std::string, std::string>& metadata) {
    for (const auto& [key, value] : metadata) {
      if (key != kContentKey) hash_.Update(key + "\n" + value + "\n");
    }
  }
  void Tensor(std::string_view name) { hash_.Update(std::string(name) + "\n"); }
  void Bytes(std::span<const std::byte> bytes) { hash_.Update(bytes); }
  std::string Hex() { return hash_.Hex(); }

 private:
  Sha256 hash_;
};

}  // namespace lowbit
