// SPDX-License-Identifier: Apache-2.0
// Room calib: which tokens a method learns from, and what the linears of a model saw of them.
// In:  texts, a tokenizer, the rows that pass through a layer.   Out: a calibration set with a hash, and
// statistics per tap that can be merged and saved. Non-goals: what a method does with them (quant).
// Start reading here, then calibration_set.h (the tokens) and statistics_file.h (the disk).
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/calib/sample_rows.h"
#include "lowbit/kernels/backend.h"

namespace lowbit {

// How much of Σ x xᵀ is collected.
enum class GramPart : uint8_t { kNone, kDiagonal, kFull };

// Columns whose products are summed up together: the backend's tiles begin at multiples of it, so that the diagonal
// alone has the same bits as the diagonal of the whole matrix.
inline constexpr size_t kGramBlock = 128;

// What the readers of one stage saw: sums over tokens, so that parts of a set can be merged.
struct InputStatistics {
  size_t width = 0;
  uint64_t tokens = 0;
  GramPart part = GramPart::kNone;
  // Σ x xᵀ, upper triangle. kFull: [width, width]; kDiagonal: its blocks of kGramBlock columns one after the
  // other, [kGramBlock, kGramBlock] each; else empty.
  Buffer<double> gram;
  std::vector<double> sum_abs;  // Σ |x_j|
  std::vector<float> max_abs;   // max |x_j|
  SampleRows samples;           // rows as they came; none unless asked for

  // Keeps up to `sample_rows` rows. `first_token`: how many rows of this input other parts have before this one.
  InputStatistics(size_t columns, GramPart gram_part, size_t sample_rows = 0, uint64_t first_token = 0);
  explicit InputStatistics(size_t columns = 0, bool with_gram = true, size_t sample_rows = 0,
                           uint64_t first_token = 0)
      : InputStatistics(columns, with_gram ? GramPart::kFull : GramPart::kNone, sample_rows, first_token) {}

  // Rows of whole sequences, `first_row` of each sequence a multiple of kGramRows from where it began: the
  // same bits however the rows come.
  void Add(const Backend& backend, MatView<const float> rows);

  // Counts `row`, one of those that were added, `times` more in the Gram matrix, and nowhere else.
  void AddAgain(const Backend& backend, std::span<const float> row, uint32_t times);

  // Adds what the next part saw, which began behind this one's last token. The same parts in the same order
  // give the same bits, whoever computed them; tokens, max_abs and samples are those of one part that saw
  // everything, and the sums but for the rounding of f64. Throws Error{kConflict} for parts that do not belong
  // together.
  void Merge(const InputStatistics& part);

  std::vector<double> mean_abs() const;  // Σ |x_j| / tokens; all 0 without tokens

  // Throws Error{kNumeric} naming `tap` and the channel unless every number is finite.
  void RequireFinite(std::string_view tap) const;

  // Of part kFull.
  MatView<double> Gram() { return {gram.data(), width, width}; }
  MatView<const double> Gram() const { return {gram.data(), width, width}; }
  double SumOfSquares(size_t channel) const;  // Σ x_j², unless the part is kNone
};

// What statistics were made from: all of it must be equal for two to be the same.
struct StatisticsOrigin {
  std::string calibration;   // CalibrationSet::hash
  std::string weights;       // Checkpoint::WeightsHash()
  std::string code_version;  // CodeVersion()
  uint64_t tokens = 0;       // of the calibration set

  bool operator==(const StatisticsOrigin&) const = default;
};

// Of a model, or of some of its layers.
struct ModelStatistics {
  StatisticsOrigin origin;
  // By full tap name: a layer's prefix and a stage's name, "model.layers.3.mlp_in", "model.layers.3.mlp_mid.5"
  // for expert 5.
  std::map<std::string, InputStatistics, std::less<>> taps;
  // Tokens that went to each expert of a layer, by its prefix: "model.layers.3.". Experts that saw none
  // are there too.
  std::map<std::string, std::vector<uint64_t>, std::less<>> expert_tokens;

  // Adds the statistics of the next part of the set, tap by tap; taps and layers that only one of the two has
  // are taken over. Throws Error{kConflict} naming what differs: the origin, a width.
  void Merge(ModelStatistics part);
};

}  // namespace lowbit
