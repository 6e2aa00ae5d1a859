// SPDX-License-Identifier: Apache-2.0
// The seam between the driver and the methods.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/base/threads.h"
#include "lowbit/calib/statistics.h"
#include "lowbit/model/layout.h"
#include "lowbit/quant/gptq.h"
#include "lowbit/quant/spec.h"
#include "lowbit/tensor/packed.h"

namespace lowbit {

struct MethodInfo {
  std::string_view name;         // as in a recipe
  std::string_view description;  // one line for --help
  std::string_view source;       // paper or reference
  int min_bits = 1, max_bits = 8;
  bool has_planes = false;    // bits and groups are the method's own: recipes do not name them
  bool whole_matrix = false;  // rows depend on each other: a job has all of a matrix, and may use its threads
};

// What a method makes of what a step's readers see; read by several threads at once.
class RoundContext {
 public:
  virtual ~RoundContext() = default;
};

// What the readers of a step see, divided by `scales` where there are any: those that their weights were
// multiplied by. The lower triangle of the Gram matrix may be used as scratch memory.
struct StepInputs {
  InputStatistics& statistics;
  std::span<const float> scales;
};

// Whose inputs a method learns from.
enum class Stream : uint8_t {
  kNone,       // nobody's
  kFloat,      // the full-precision model's: shared by every recipe
  kOwn,        // those that the linears quantized so far produce: each recipe has its own
  kOwnLayers,  // the same, but a layer is seen as it was: all its linears are quantized after one look at it
};

// Some rows of one linear: given the context, a row's codes depend on that row alone, so a matrix comes in
// pieces, unless MethodInfo::whole_matrix.
struct RoundJob {
  MatView<const float> weights;  // rows [first_row, first_row + weights.rows) of [out, in], finite
  size_t first_row = 0;
  const std::string& name;    // full name of the tensor, for errors
  const std::string& source;  // the checkpoint it comes from, for errors
  const Recipe& recipe;
  const WeightSpec& spec;
  const Threads& threads;
  const RoundContext* context = nullptr;  // from Prepare
};

// Notes for people: what was done otherwise than asked.
using Notes = std::vector<std::string>;

// A quantization method: a pure function of weights, statistics and spec.
// Const and stateless: the driver may call it from any thread.
class Method {
 public:
  virtual ~Method() = default;
  virtual MethodInfo Info() const = 0;
  virtual Stream Learns(const Recipe& recipe) const;

  // Once for all readers of a step; nullptr when there is nothing to remember. `spec` is the recipe's: rules give
  // readers other bits and groups, never another grid or range. Throws Error{kNumeric} at `place`.
  virtual std::unique_ptr<RoundContext> Prepare(const Recipe& recipe, const WeightSpec& spec,
                                                const StepInputs& inputs, const Place& place,
                                                const Threads& threads, Notes& notes) const;

  // Room for a matrix of this shape.
  virtual PackedTensor Make(size_t rows, size_t cols, const RoundJob& job) const;

  // Fills the job's rows of `packed`, which Make made. Throws Error{kNumeric} naming
  // the tensor when a number does not fit; never falls back silently.
  virtual void Round(const RoundJob& job, PackedTensor& packed) const = 0;
};

// FactorGram (gptq.h) of what a step's readers see, noted where it is not what was asked for; `instead`: what is done
// where there is none.
GptqFactor FactorOrNote(InputStatistics& inputs, const GptqOptions& options, std::string_view instead,
                        const Place& place, const Threads& threads, Notes& notes);

std::span<const Method* const> Methods();
const Method* FindMethod(std::string_view name);  // nullptr when there is none

}  // namespace lowbit
