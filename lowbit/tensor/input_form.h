// SPDX-License-Identifier: Apache-2.0
// What a packed matrix wants done to the rows that it multiplies: mixed by a rotation that its weights went through
// as well, rounded to integers. Here is the specification in plain loops; kernels are compared with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace lowbit {

struct InputForm {
  // Columns that a normalized Hadamard matrix mixes, block after block: a power of two that divides the number of
  // columns; 0: none. The stored weights are W H, so that (x H)(W H)ᵀ = x Wᵀ.
  size_t rotation = 0;
  int bits = 0;     // of the integers, sign included: 2 to 8; 0: inputs stay what they are
  float scale = 0;  // of the integers of every row; 0: each row has its own, max|x| / (2^(bits-1) - 1)

  bool operator==(const InputForm&) const = default;
  bool IsPlain() const { return rotation == 0 && bits == 0; }
};

// The largest integer of that many bits; the smallest is its negative.
constexpr int LargestInput(int bits) {
  return (1 << (bits - 1)) - 1;
}

// The largest power of two up to 128 that divides `cols`.
size_t RotationBlock(size_t cols);

// row H, block after block of `block` columns: sums and differences of halves, level after level, then times
// 1 / sqrt(block). H is its own inverse.
void RotateRow(std::span<float> row, size_t block);

// Integers q with x ≈ s q, q = round-half-even(x / s) held within ±LargestInput, and s. `fixed_scale` 0: s =
// max(max|x|, 1e-5) / LargestInput. A row with NaN or infinite values has a scale that is not finite, and no
// meaningful integers. Source: docs/methods.md.
float RoundInputs(std::span<const float> row, int bits, float fixed_scale, std::span<int8_t> integers);

}  // namespace lowbit
