// SPDX-License-Identifier: Apache-2.0
// Room quant: methods that turn weights into packed tensors, and the driver that runs them over a model.
// In:  a recipe, a model's weights (later: statistics).   Out: an artefact of packed layers.
// Non-goals: forward passes (model), scores (eval), what an engine reads (export).
// Start reading here (what a recipe says), then method.h (the seam), methods.cc (the table), layer_stream.h.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/tensor/dtype.h"
#include "lowbit/tensor/input_form.h"

namespace lowbit {

// How the levels of a group of weights follow from its range: option "grid=" (docs/methods.md).
enum class Grid : uint8_t { kGptq, kAwq, kAbsmax, kRot, kFull };
std::string_view Name(Grid grid);  // as in a recipe: "gptq", "awq", "absmax", "rot", "full"

Grid DefaultGrid(std::string_view method);

// How the range of a group is found: option "range=".
enum class RangeSearch : uint8_t {
  kMinMax,  // the weights' own
  kMse,     // narrower ones are tried, the smallest error of the weights is kept
  kHdiag,   // the same, errors weighted by how large each column's inputs are: needs calibration
};
std::string_view Name(RangeSearch range);  // as in a recipe: "minmax", "mse", "hdiag"

// What GPTQ does beside rounding column by column (docs/methods.md).
struct GptqOptions {
  bool act_order = false;      // columns with the largest inputs first
  bool static_groups = false;  // ranges of all groups from the weights as they were
  bool fresh_range = true;     // a group's range from its columns as they are when it begins
  double damp = 0.01;          // of the mean of the Gram matrix's diagonal, added to it
  // How often a sequence's first token counts in the Gram matrix of what q, k and v read: the token that attention
  // comes back to when it looks for nothing (docs/methods.md).
  uint32_t sink_weight = 1;

  bool operator==(const GptqOptions&) const = default;
};

// How AWQ judges a scale (docs/methods.md).
enum class AwqLoss : uint8_t {
  kBlock,        // by the output of the attention or MLP that reads the scaled input: the original
  kHessian,      // by the outputs of the linears themselves, from the Gram matrix: another method, and faster
  kHessianRows,  // the same, every row weighted by what the module's output makes of it
};
std::string_view Name(AwqLoss loss);  // as in a recipe: "block", "hessian", "hessian_rows"

struct AwqOptions {
  AwqLoss loss = AwqLoss::kBlock;
  size_t samples = 0;  // of kBlock: the first sequences of the calibration set that count; 0 = all

  bool operator==(const AwqOptions&) const = default;
};

inline constexpr size_t kBillmBlock = 128;  // columns that share a choice, unless the recipe says otherwise

// What BiLLM does beside choosing planes (docs/methods.md).
struct BillmOptions {
  bool exact = false;  // the block's own columns make up for each other's errors too
  double damp = 0.01;  // as GptqOptions::damp

  bool operator==(const BillmOptions&) const = default;
};

// Which norms and linears give up scales so that what reads them has smaller inputs: option "smooth=".
enum class Smoothed : uint8_t {
  kAttnIn,  // the norm before q, k and v
  kMlpIn,   // the norm before gate and up
  kNorms,   // both: the original
  kDown,    // both, and up_proj for down_proj
  kAll,     // these, and v_proj for o_proj, one scale for all query heads that read a value
};
std::string_view Name(Smoothed smoothed);  // as in a recipe: "attn_in", "mlp_in", "norms", "down", "all"

struct SmoothOptions {
  double alpha = 0.5;  // how much of the inputs' size goes over into the weights: 0 to 1
  Smoothed where = Smoothed::kNorms;

  bool operator==(const SmoothOptions&) const = default;
};

// What one scale of rounded inputs is for: option "activations=".
enum class InputScales : uint8_t {
  kToken,   // each row its own, found when it comes
  kTensor,  // all rows, the largest of the calibration tokens
};

// How one matrix is rounded, and what it reads.
struct WeightSpec {
  int bits = 4;           // 1..8; 1 is the binary quantizer, or planes
  size_t group_size = 0;  // columns per group; 0 = per channel (one group per row)
  bool symmetric = false;
  DType scale_type = DType::kF16;  // scales are rounded to this before codes are chosen
  Grid grid = Grid::kGptq;
  RangeSearch range = RangeSearch::kMinMax;
  int input_bits =
      0;  // inputs are rounded to integers of that many bits, 2 to 8; 0 = they stay what they are
  InputScales input_scales = InputScales::kToken;  // of rounded inputs
  bool rotates = false;  // weights and inputs are turned by a Hadamard matrix first: option "transform="
  bool planes =
      false;  // 1 bit: two bit planes and seven scalars a group (tensor/packed.h) in place of binary

  bool operator==(const WeightSpec&) const = default;

  // Bits, groups and symmetry, as a recipe says them: "w4-g128-sym", "w3-channel", "w4a8-g64". The other settings
  // are options of the recipe.
  std::string Text() const;

  // Columns per group of a matrix with `cols` columns. A group never reaches beyond its row: where the row
  // is shorter than group_size, the whole row is one group.
  size_t GroupSizeFor(size_t cols) const;

  // What such a matrix wants of its inputs; their scale is known only where it was measured.
  InputForm InputFor(size_t cols) const;
  // That scale, where one is for all rows: of inputs up to `largest`. Else 0.
  float FixedInputScale(float largest) const;
};

// An exception from a recipe: linears that are rounded to other bits, groups or symmetry, or not at all.
struct WeightRule {
  struct Layers {
    size_t first = 0, last = 0;

    bool operator==(const Layers&) const = default;
  };
  std::optional<Layers> layers = {};  // nullopt: all
  std::string tensor = {};            // whole parts of a name: "down_proj", "self_attn"; empty: every linear
  std::optional<WeightSpec> weights = {};  // nullopt: kept as it is

  bool operator==(const WeightRule&) const = default;
  std::string Name() const;  // "layers.0-3", "tensor.down_proj", "layers.0-3.down_proj"
  std::string Text() const;  // "layers.0-3=w8-g64"
  // Of rules that cover a linear the one of the highest rank decides: 0 names layers, 1 a tensor, 2 both.
  int Rank() const { return layers && !tensor.empty() ? 2 : layers ? 0 : 1; }
  // `linear` is relative to the layer: "mlp.down_proj".
  bool Covers(size_t layer, std::string_view linear) const;
};

// A recipe as people type it (docs/recipes.md):
//   full                          nothing is quantized
//   rtn-w4-g128                   method, bits, group size
//   rtn-w3-channel-sym            one group per row, symmetric
//   rtn-w4-g64:head=w8-g64,scale=f32     options after a colon
//   gptq-w3-g64:act_order=true,damp=0.05
//   awq-w4-g64:awq_loss=hessian
//   awq+gptq-w3-g64             scales first, then another method
//   gptq-w4a8-g64               inputs rounded to 8-bit integers
//   smoothquant-w8a8:alpha=0.8   symmetric per channel unless groups are named
//   smoothquant+gptq-w4a8-g64    smoothed, then another method
//   billm:exact=true              about one bit: a method that names no bits and groups
//   gptq-w3-g64:layers.0-3=w8-g64,tensor.down_proj=keep    rules: exceptions
//   gptq@study-w4-g128          a preset: defaults of options, gone from the canonical text
struct Recipe {
  std::string method;  // a row of the method table, or "full"
  WeightSpec weights;
  std::optional<WeightSpec> head;            // lm_head and embedding; nullopt = keep
  std::optional<AwqOptions> awq = {};        // scales are searched before the method rounds
  std::optional<SmoothOptions> smooth = {};  // scales follow from the inputs' size before the method rounds
  GptqOptions gptq = {};                     // of method gptq
  BillmOptions billm = {};                   // of method billm; its block is the group size of `weights`
  std::vector<WeightRule> rules = {};  // sorted by name; whether they fit a model RequireRules (rules.h) says

  bool operator==(const Recipe&) const = default;
  bool IsFull() const { return method == "full"; }
  // Whether scales are folded into the weights before they are rounded.
  bool Rescales() const { return awq || smooth; }

  // Whether the layers' inputs must be known: the method says so, or its range search. The head never needs
  // them: nothing measures what it reads, and range=hdiag counts its columns all the same.
  bool NeedsCalibration() const;

  // How a linear of a layer, "mlp.down_proj", is rounded; nullopt: not at all.
  std::optional<WeightSpec> WeightsOf(size_t layer, std::string_view linear) const;

  // Canonical: options in alphabetical order, defaults left out. Parses back to an equal recipe.
  std::string Text() const;
};

// Throws Error{kUsage} that quotes the part it does not understand and says what is allowed there.
Recipe ParseRecipe(std::string_view text);

}  // namespace lowbit
