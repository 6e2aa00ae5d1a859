// SPDX-License-Identifier: Apache-2.0
#include "lowbit/tensor/weight.h"

#include "lowbit/base/mapped_file.h"

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

InputForm InputFormOf(const Weight& weight) {
  const auto* packed = std::get_if<SharedPacked>(&weight);
  return packed == nullptr ? InputForm() : (*packed)->input;
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

void ReleaseRows(const Weight& weight, size_t first, size_t count) {
  const auto* tensor = std::get_if<TensorView>(&weight);
  if (tensor == nullptr || !tensor->is_mapped) return;
  const size_t row_bytes = tensor->Cols() * SizeOf(tensor->type);
  ReleasePages(tensor->bytes.subspan(first * row_bytes, count * row_bytes));
}

}  // namespace lowbit
