// SPDX-License-Identifier: Apache-2.0
// Do weights and config.json belong together?
#pragma once

#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/model/config.h"

namespace lowbit {

// Throws Error{kContent} naming the tensor and the key of config.json that contradicts it:
//   - a tensor that the model needs is missing, not floating, or has another shape;
//   - fewer or more layers are stored than num_hidden_layers says;
//   - tensors are stored that would change the numbers but that this model_type does not use: biases, norms,
//     scales of quantized weights;
// A stored head of a tied model is not used; where it is another matrix than the embedding a warning says so.
// Other tensors that are not used are reported by one warning; rotary tables of old files are passed over.
// Looks at shapes only: values are checked when they are read (RequireFinite).
void CheckTensors(const Checkpoint& checkpoint, const ModelConfig& config);

}  // namespace lowbit
