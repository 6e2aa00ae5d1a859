// SPDX-License-Identifier: Apache-2.0
// What `lowbit inspect` finds out about a folder, before it is printed.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "lowbit/base/json.h"
#include "lowbit/checkpoint/artefact.h"
#include "lowbit/model/config.h"
#include "lowbit/model/sizes.h"

namespace lowbit {

struct InspectedTensor {
  std::string name, type, shape, file;
  uint64_t bytes = 0;
};

// Bytes to evaluate windows of `window` tokens, one at a time. Formulas: lowbit inspect --help.
struct MemoryEstimate {
  size_t window = 0;
  uint64_t all_layers_f32 = 0, all_layers_bf16 = 0;  // every weight in memory
  uint64_t one_layer_f32 = 0, one_layer_bf16 = 0;    // one decoder layer at a time
};

// An artefact of `recipe`, computed from the shapes.
struct ArtefactEstimate {
  std::string recipe;
  double bits_per_weight = 0;  // of the quantized weights, scales and zero points counted
  uint64_t bytes = 0;          // of the artefact's tensors
  uint64_t model_bytes = 0;    // the same, plus the tensors that are kept as they are stored
};

struct Inspection {
  std::string folder;                     // of the checkpoint
  std::optional<ArtefactInfo> artefact;   // when an artefact of that checkpoint was inspected
  std::string architecture, description;  // of the model's family
  ModelConfig config;
  ModelSizes sizes;
  std::vector<InspectedTensor> tensors;  // in the order in which the model uses them, then those it does not
  uint64_t tensor_bytes = 0, disk_bytes = 0;
  size_t files = 0;
  MemoryEstimate memory;
  std::vector<ArtefactEstimate> artefacts;
};

// Opens `folder`, a checkpoint or an artefact, and checks that its parts belong together; no weight is read.
// Throws what opening it throws.
Inspection Inspect(const std::string& folder);

// For programs and for people (inspect.cc). `with_tensors` lists every tensor.
Json ToJson(const Inspection& inspection, bool with_tensors);
std::string ToText(const Inspection& inspection, bool with_tensors);

}  // namespace lowbit
