// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/view.h"

#include <cstring>

namespace lowbit {
namespace {

template <class T>
void CopyElements(const std::byte* source, std::span<float> out) {
  for (size_t i = 0; i < out.size(); ++i) {
    T element;
    std::memcpy(&element, source + i * sizeof(T), sizeof(T));  // files do not promise alignment
    out[i] = ToFloat(element);
  }
}

}  // namespace

size_t ElementCount(std::span<const size_t> shape) {
  size_t count = 1;
  for (const size_t n : shape) count *= n;
  return count;
}

std::string ShapeText(const Shape& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

void CopyToFloat(const TensorView& tensor, size_t first, std::span<float> out) {
  LOWBIT_ASSERT((first + out.size()) * SizeOf(tensor.type) <= tensor.bytes.size());
  const std::byte* source = tensor.bytes.data() + first * SizeOf(tensor.type);
  switch (tensor.type) {
    case DType::kF32:
      if (!out.empty()) std::memcpy(out.data(), source, out.size_bytes());  // no null pointers for memcpy
      return;
    case DType::kF16:
      CopyElements<F16>(source, out);
      return;
    case DType::kBF16:
      CopyElements<BF16>(source, out);
      return;
    default:
      throw Error(ErrorKind::kInternal, fmt::format("{} is not a floating type", Name(tensor.type)));
  }
}

std::vector<float> ToFloatVector(const TensorView& tensor) {
  std::vector<float> out(tensor.Count());
  CopyToFloat(tensor, 0, out);
  return out;
}

}  // namespace lowbit
