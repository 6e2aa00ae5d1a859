// SPDX-License-Identifier: Apache-2.0
// A weight matrix as the model sees it: dense (f32, f16, bf16) or packed. Who packed it does not matter.
#pragma once

#include <memory>
#include <variant>

#include "lowbit/tensor/packed.h"
#include "lowbit/tensor/view.h"

namespace lowbit {

// Rows are output channels. A dense view points into memory owned elsewhere (a mapped file).
using Weight = std::variant<TensorView, std::shared_ptr<const PackedTensor>>;

size_t Rows(const Weight& weight);
size_t Cols(const Weight& weight);
size_t StoredBytes(const Weight& weight);

// What is done to the rows that it multiplies; plain for a dense one.
InputForm InputFormOf(const Weight& weight);

// Rows [first, first + out.rows) as f32, of a rotated weight as they are stored.
void RowsToFloat(const Weight& weight, size_t first, MatView<float> out);

// Rows [first, first + count) of a weight in a mapped file are not needed for now (ReleasePages). Nothing for
// other weights.
void ReleaseRows(const Weight& weight, size_t first, size_t count);

}  // namespace lowbit
