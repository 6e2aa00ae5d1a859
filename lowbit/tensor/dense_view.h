// SPDX-License-Identifier: Apache-2.0
// A matrix in memory as a tensor: what takes any dense weight takes it, too.
#pragma once

#include "lowbit/tensor/buffer.h"

namespace lowbit {

// `m` without gaps between its rows. Lent: `m` must outlive it.
inline TensorView DenseView(MatView<const float> m) {
  LOWBIT_ASSERT(m.stride == m.cols);
  return {DType::kF32, {m.rows, m.cols}, std::as_bytes(std::span(m.data, m.rows * m.cols))};
}
inline TensorView DenseView(const Matrix& m) {
  return DenseView(m.view());
}

}  // namespace lowbit
