// SPDX-License-Identifier: Apache-2.0
// Scales per input channel folded into weights: readers take them on, the producer of their input gives them
// up, and the outputs stay what they were. All in f32: dividing a bf16 norm would change the model.
#pragma once

#include <span>

#include "lowbit/tensor/view.h"

namespace lowbit {

// Column j of a reader times s_j: the quantized linears of a stage, and those that are not, as a router.
void ScaleColumns(MatView<float> reader, std::span<const float> scales);

// Element j divided by s_j: a norm's weight, a linear producer's bias.
void DivideElements(std::span<float> values, std::span<const float> scales);

// Row j divided by s_j: up_proj, whose output j is down_proj's input j up to a factor that s does not touch.
void DivideRows(MatView<float> producer, std::span<const float> scales);

// For scales of o_proj's columns [heads · head_dim], v_proj [kv_heads · head_dim, in]: query head h reads
// key/value head h / (heads / kv_heads), so the scales of heads that share one must be equal
// (TieOverQueryHeads). A bias is a matrix of one column.
void DivideValueRows(MatView<float> v_proj, std::span<const float> scales, size_t heads, size_t kv_heads);

}  // namespace lowbit
