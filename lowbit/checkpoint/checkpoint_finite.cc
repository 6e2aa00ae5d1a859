// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <bit>
#include <cstring>

#include "lowbit/checkpoint/checkpoint.h"

namespace lowbit {
namespace {

// A floating value is NaN or infinite when all bits of its exponent are set.
template <class Word>
struct Layout {
  Word exponent, mantissa;
};
constexpr Layout<uint32_t> kF32Layout = {0x7F800000u, 0x007FFFFFu};
constexpr Layout<uint16_t> kF16Layout = {0x7C00u, 0x03FFu};
constexpr Layout<uint16_t> kBF16Layout = {0x7F80u, 0x007Fu};

// Bytes looked at in one go. A constant, so that the compiler turns the loop into vector code, and small, so
// that the copy that aligns them stays in the nearest cache.
constexpr size_t kBlockBytes = 4096;

struct Found {
  size_t first = 0, nan = 0, infinite = 0;
};

template <class Word>
Found Search(std::span<const std::byte> bytes, Layout<Word> layout) {
  constexpr size_t kBlock = kBlockBytes / sizeof(Word);
  Found found;
  const size_t count = bytes.size() / sizeof(Word);
  Word block[kBlock] = {};
  for (size_t begin = 0; begin < count; begin += kBlock) {
    const size_t n = std::min(kBlock, count - begin);
    if (n < kBlock) std::fill_n(block, kBlock, Word{0});
    std::memcpy(block, bytes.data() + begin * sizeof(Word),
                n * sizeof(Word));  // files do not promise alignment
    Word any = 0;
    for (size_t i = 0; i < kBlock; ++i) {
      any |= static_cast<Word>((block[i] & layout.exponent) == layout.exponent);
    }
    if (any == 0) continue;
    for (size_t i = 0; i < n; ++i) {
      if ((block[i] & layout.exponent) != layout.exponent) continue;
      if (found.nan + found.infinite == 0) found.first = begin + i;
      ++((block[i] & layout.mantissa) != 0 ? found.nan : found.infinite);
    }
  }
  return found;
}

Found SearchTensor(const TensorView& tensor) {
  switch (tensor.type) {
    case DType::kF32:
      return Search(tensor.bytes, kF32Layout);
    case DType::kF16:
      return Search(tensor.bytes, kF16Layout);
    case DType::kBF16:
      return Search(tensor.bytes, kBF16Layout);
    default:
      throw Error(ErrorKind::kInternal, fmt::format("{} is not a floating type", Name(tensor.type)));
  }
}

// The position of element `flat` in each dimension.
Shape IndexOf(size_t flat, const Shape& shape) {
  Shape index(shape.size());
  for (size_t i = shape.size(); i-- > 0;) {
    index[i] = flat % shape[i];
    flat /= shape[i];
  }
  return index;
}

}  // namespace

bool IsFinite(const TensorView& tensor) {
  const Found found = SearchTensor(tensor);
  return found.nan + found.infinite == 0;
}

void RequireFinite(const TensorView& tensor, std::string_view name, const std::string& path) {
  static_assert(std::endian::native == std::endian::little, "stored values are little-endian");
  const Found found = SearchTensor(tensor);
  if (found.nan + found.infinite == 0) return;
  throw Error(
      ErrorKind::kNumeric, Place(path).Tensor(Printable(name)),
      fmt::format("{} values are NaN and {} infinite of {}, the first at {}; expected finite weights",
                  found.nan, found.infinite, tensor.Count(), ShapeText(IndexOf(found.first, tensor.shape))));
}

}  // namespace lowbit
