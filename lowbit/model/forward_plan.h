// SPDX-License-Identifier: Apache-2.0
// How much memory a forward pass over many rows takes, and how it is cut so that it fits.
#pragma once

#include <cstdint>
#include <string>

#include "lowbit/base/memory.h"
#include "lowbit/kernels/backend.h"
#include "lowbit/model/layer_source.h"

namespace lowbit {

// What is to be computed.
struct ForwardJob {
  size_t sequences = 0;
  size_t rows = 0;          // tokens of all sequences
  size_t longest = 0;       // tokens of the longest one
  size_t scored = 0;        // rows that go through the head
  bool repeats = false;     // other jobs on the same model follow
  uint64_t kept_bytes = 0;  // of final hidden states that stay in memory
  bool compares = false;    // scored rows also go through CompareHeads, beside as many others
  bool branches =
      false;  // sequences are branches of a tree; `longest` counts the positions to a branch's end
};

struct ForwardPlan {
  bool keeps_layers = false;   // prepared layers stay in memory for the next job
  bool keeps_scratch = false;  // a layer's working memory stays for the next layer
  bool scratch_file = false;   // activations are in a file
  size_t rows_in_memory = 0;   // of activations, at a time
  size_t rows_per_group = 0;   // that pass through attention together

  // Bytes, at the moments that take most.
  uint64_t program = 0;      // code, tokenizer, texts
  uint64_t weights = 0;      // prepared: one layer, or all
  uint64_t mapped = 0;       // pages of the checkpoint, or what a layer file holds, while they are prepared
  uint64_t activations = 0;  // the residual stream, as far as it is in memory
  uint64_t working = 0;      // inside a layer
  uint64_t head = 0;         // scoring
  uint64_t Peak() const;

  uint64_t bytes_read = 0;  // of the checkpoint
  double flop = 0;

  std::string Text() const;  // one line: "streamed, 1.21 GB: …"
};

// The cut with the largest pieces that fits. Results do not depend on it. Throws Error{kResource} saying how
// much is needed when the smallest one does not fit.
ForwardPlan PlanForward(const LayerSource& source, const Backend& backend, const ForwardJob& job,
                        const MemoryBudget& budget);

// Seconds that the job will take by a short probe: one layer, a few hundred rows.
double ProbeSeconds(const LayerSource& source, const Backend& backend, const ForwardJob& job);

}  // namespace lowbit
