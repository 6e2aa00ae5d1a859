// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/weight.h"

namespace lowbit {
namespace {

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

using SharedPacked = std::shared_ptr<const PackedTensor>;

}  // namespace

size_t Rows(const Weight& weight) {
  return std::visit(
      Overloaded{[](const TensorView& t) { return t.Rows(); }, [](const SharedPacked& p) { return p->rows; }},
      weight);
}

size_t Cols(const Weight& weight) {
  return std::visit(
      Overloaded{[](const TensorView& t) { return t.Cols(); }, [](const SharedPacked& p) { return p->cols; }},
      weight);
}

size_t StoredBytes(const Weight& weight) {
  return std::visit(
      Overloaded{[](const TensorView& t) { return t.bytes.size(); },
                 [](const SharedPacked& p) { return static_cast<size_t>((p->StoredBits() + 7) / 8); }},
      weight);
}

void RowsToFloat(const Weight& weight, size_t first, MatView<float> out) {
  std::visit(Overloaded{[&](const TensorView& t) {
                          for (size_t r = 0; r < out.rows; ++r) {
                            CopyToFloat(t, (first + r) * out.cols, out.RowSpan(r));
                          }
                        },
                        [&](const SharedPacked& p) { Dequantize(*p, first, out); }},
             weight);
}

}  // namespace lowbit
