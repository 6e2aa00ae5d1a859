// SPDX-License-Identifier: Apache-2.0
// GPTQ as pure functions: a Gram matrix gives a factor, once for all linears that read the same input, and
// the factor gives codes, for any rows of any of them. Formulas and where they come from: docs/methods.md.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lowbit/base/threads.h"
#include "lowbit/quant/spec.h"
#include "lowbit/tensor/packed.h"

namespace lowbit {

enum class GramState : uint8_t {
  kFactored,
  kNotDefinite,  // nor with any damping of the ladder: there is no factor
  kNoInputs,     // all inputs were 0: there is no factor, GPTQ would make every weight 0
};
std::string_view Name(GramState state);  // for a report: "factored", "not positive definite", "no inputs"

// What GPTQ needs to know of the inputs x of a linear. Position p of the order in which columns are rounded is
// column order[p].
struct GptqFactor {
  GramState state = GramState::kNoInputs;
  std::vector<uint32_t> order;  // act_order: [cols]; empty = natural
  Matrix u;  // [cols, cols] by position, upper: UᵀU = (H + damping)⁻¹; 0 below the diagonal
  std::vector<float> importance;  // [cols] by column: diagonal of the Gram matrix
  std::vector<uint32_t> dead;     // columns whose input was always 0, ascending: their weights become 0
  double damp = 0;                // what was added to the diagonal, in units of its mean

  size_t cols() const { return importance.size(); }
};

// Dampings that are tried one after the other, in units of GptqOptions::damp.
inline constexpr double kDampLadder[] = {1, 2, 5, 10, 30, 50};

// The factor of `gram` = Σ x xᵀ [cols, cols], upper triangle. What is below the diagonal is used as scratch
// memory; the upper triangle is as it was afterwards. Does not depend on the number of threads, nor on the
// scale of the Gram matrix where no column is dead. Throws Error{kNumeric} at `place` when it holds a NaN or an
// infinity.
GptqFactor FactorGram(MatView<double> gram, const GptqOptions& options, const Place& place,
                      const Threads& threads);

// The order in which a packed tensor stores columns so that its groups are contiguous, for MakePacked: that
// of the factor when act_order makes groups of its own, else empty.
std::span<const uint32_t> StoredOrder(const GptqFactor& factor, const WeightSpec& spec,
                                      const GptqOptions& options);

// Rows that are rounded side by side: jobs that begin at a multiple of this and have a multiple of it lose no
// time. Their result is the same however they are cut.
inline constexpr size_t kGptqRows = 64;
inline constexpr size_t kGptqBlock = 128;  // columns whose errors reach the columns behind them at once

// Some rows of one linear.
struct GptqJob {
  MatView<const float> weights;  // rows [first_row, first_row + weights.rows) of [out, cols], finite
  size_t first_row = 0;
  const GptqFactor& factor;  // kFactored
  const WeightSpec& spec;    // 2 bits or more
  const GptqOptions& options;
  const Place& place;  // of the tensor, for errors
  size_t block = kGptqBlock;
};

// Fills the job's rows of `packed`, which MakePacked made from the same spec and StoredOrder. Runs on the
// calling thread; rows do not depend on each other, nor on what else is in the job. Returns Σ e² over the
// job's rows = tr(E (H + damping) Eᵀ), E = W - Ŵ after dead columns became 0. Throws Error{kNumeric} at `place`
// when a scale does not fit spec.scale_type or the errors grow beyond f32.
double RoundGptq(const GptqJob& job, PackedTensor& packed);

}  // namespace lowbit
