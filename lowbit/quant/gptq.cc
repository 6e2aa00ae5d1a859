// SPDX-License-Identifier: Apache-2.0
// RoundGptq of gptq.h.
#include "lowbit/quant/gptq.h"

#include <algorithm>
#include <cmath>

#include "lowbit/quant/blas.h"
#include "lowbit/quant/gptq_loops.h"
#include "lowbit/quant/rounding.h"
#include "lowbit/quant/uniform.h"

namespace lowbit {
namespace {

static_assert(kGptqRows == kLanes);
constexpr size_t kSubBlock = 16;  // columns whose errors stay in the first-level cache

// When the ranges of groups are found, and of which columns a group is made.
enum class Grouping : uint8_t {
  kChannel,  // one group per row, before anything else
  kStatic,   // all groups before the first column, of columns in their natural order
  kDynamic,  // each group when it begins, of columns in the order of rounding
};

// What the tiles of a job share.
struct Plan {
  explicit Plan(const GptqJob& j, const PackedTensor& packed)
      : job(j),
        cols(j.weights.cols),
        group_size(packed.group_size),
        groups(packed.Groups()),
        grouping(j.spec.group_size == 0    ? Grouping::kChannel
                 : j.options.static_groups ? Grouping::kStatic
                                           : Grouping::kDynamic),
        quantizer(j.spec),
        importance(j.factor.importance) {
    if (grouping != Grouping::kDynamic || j.factor.order.empty()) return;
    for (size_t p = 0; p < cols; ++p) importance[p] = j.factor.importance[j.factor.order[p]];
  }

  size_t Column(size_t position) const {
    return job.factor.order.empty() ? position : job.factor.order[position];
  }
  size_t Group(size_t position) const {
    if (grouping == Grouping::kChannel) return 0;
    return (grouping == Grouping::kStatic ? Column(position) : position) / group_size;
  }
  bool StartsGroup(size_t position) const {
    return grouping == Grouping::kDynamic && position % group_size == 0;
  }
  bool ChoosesFresh() const { return grouping == Grouping::kDynamic && job.options.fresh_range; }

  // End of the block that begins at `begin`. Where a group's range is to be found from columns that all earlier
  // columns have reached, a group that begins within a block ends there too.
  size_t BlockEnd(size_t begin) const {
    size_t end = begin + job.block;
    if (ChoosesFresh()) {
      const size_t in_group = begin % group_size, rest = group_size - in_group;
      end = rest >= job.block ? end : begin + rest + (job.block - rest) / group_size * group_size;
    }
    return std::min(end, cols);
  }
  size_t SubBlockEnd(size_t begin, size_t block_end) const {
    size_t end = begin + kSubBlock;
    if (ChoosesFresh()) end = std::min(end, (begin / group_size + 1) * group_size);
    return std::min(end, block_end);
  }

  const GptqJob& job;
  size_t cols, group_size, groups;
  Grouping grouping;
  UniformQuantizer quantizer;
  std::vector<float> importance;  // of the columns of a group, as its range is found
  const GptqLoops& loops = LoopsOfGptq();
};

// Rows of a matrix side by side, so that every step works on one column of kLanes rows. Row r of the matrix is
// lane r % kLanes of its tile, whatever the job: it meets the same instructions however rows are cut. Lanes
// without a row hold zeros.
class Tile {
 public:
  Tile(const Plan& plan, PackedTensor& packed)
      : plan_(plan),
        packed_(packed),
        weights_(plan.cols * kLanes),
        errors_(plan.job.block * kLanes),
        scales_(plan.groups * kLanes),
        zeros_(plan.groups * kLanes),
        codes_(plan.cols * kLanes),
        row_(plan.cols),
        row_codes_(plan.cols) {}

  // Rows [begin, end) of the matrix, of one tile. Returns Σ e².
  double Round(size_t begin, size_t end) {
    first_row_ = begin - begin % kLanes;
    begin_ = begin;
    end_ = end;
    Load();
    for (size_t at = 0; at < plan_.cols;) {
      const size_t block_end = plan_.BlockEnd(at);
      RoundBlock(at, block_end);
      blas::SubtractOfTransposed(plan_.cols - block_end, kLanes, block_end - at, Factor(at) + block_end,
                                 plan_.cols, errors_.data(), kLanes, Weights(block_end), kLanes);
      at = block_end;
    }
    Store();
    double sum = 0;
    for (size_t row = begin; row < end; ++row) sum += loss_[row - first_row_];
    return sum;
  }

 private:
  float* Weights(size_t position) { return weights_.data() + position * kLanes; }
  const float* Factor(size_t position) const { return plan_.job.factor.u.data() + position * plan_.cols; }

  void Load() {
    std::ranges::fill(std::span<float>(weights_), 0.0f);
    std::ranges::fill(std::span<float>(scales_), 1.0f);
    std::ranges::fill(std::span<float>(zeros_), 0.0f);
    std::ranges::fill(loss_, 0.0);
    for (size_t row = begin_; row < end_; ++row) {
      std::ranges::copy(plan_.job.weights.RowSpan(row - plan_.job.first_row), row_.data());
      if (plan_.grouping == Grouping::kChannel) Choose(row, 0, row_);  // dead columns count: so the original
      for (const uint32_t c : plan_.job.factor.dead) row_[c] = 0;
      for (size_t k = 0; plan_.grouping == Grouping::kStatic && k < plan_.groups; ++k) {
        const size_t at = k * plan_.group_size;
        Choose(row, k, std::span<const float>(row_).subspan(at, std::min(plan_.group_size, plan_.cols - at)));
      }
      float* lane = weights_.data() + (row - first_row_);
      for (size_t p = 0; p < plan_.cols; ++p) lane[p * kLanes] = row_[plan_.Column(p)];
    }
  }

  // Parameters of group k of a row from `weights`.
  void Choose(size_t row, size_t k, std::span<const float> weights) {
    const std::span<const float> importance =
        std::span<const float>(plan_.importance).subspan(k * plan_.group_size, weights.size());
    const GroupParams params = plan_.quantizer.Choose(weights, importance);
    if (!std::isfinite(params.scale))
      ThrowTooLarge(plan_.job.place, row, k, "scale", plan_.job.spec.scale_type);
    scales_[k * kLanes + row - first_row_] = params.scale;
    zeros_[k * kLanes + row - first_row_] = static_cast<float>(params.zero);
    packed_.scales[row * plan_.groups + k] = params.scale;
    if (!packed_.symmetric) packed_.zeros[row * plan_.groups + k] = params.zero;
  }

  // Of the group that begins at a position, from the weights as they are.
  void ChooseGroup(size_t position) {
    const size_t size = std::min(plan_.group_size, plan_.cols - position);
    for (size_t row = begin_; row < end_; ++row) {
      const float* lane = Weights(position) + (row - first_row_);
      for (size_t i = 0; i < size; ++i) row_[i] = lane[i * kLanes];
      Choose(row, plan_.Group(position), std::span<const float>(row_).first(size));
    }
  }

  void RoundBlock(size_t begin, size_t end) {
    // The original reads ranges from weights that this block's errors have not reached.
    for (size_t p = begin; p < end && !plan_.ChoosesFresh(); ++p) {
      if (plan_.StartsGroup(p)) ChooseGroup(p);
    }
    for (size_t at = begin; at < end;) {
      const size_t sub_end = plan_.SubBlockEnd(at, end);
      if (plan_.ChoosesFresh() && plan_.StartsGroup(at)) ChooseGroup(at);
      for (size_t p = at; p < sub_end; ++p) {
        RoundColumn(p, begin);
        Subtract(p, p + 1, begin, p + 1, sub_end);
      }
      Subtract(at, sub_end, begin, sub_end, end);
      at = sub_end;
    }
  }

  void RoundColumn(size_t position, size_t block_begin) {
    const size_t group = plan_.Group(position) * kLanes;
    plan_.loops.round({.weights = Weights(position),
                       .scales = scales_.data() + group,
                       .zeros = zeros_.data() + group,
                       .first_code = plan_.quantizer.first_code(),
                       .last_code = plan_.quantizer.last_code(),
                       .pivot = Factor(position)[position],
                       .codes = codes_.data() + position * kLanes,
                       .errors = errors_.data() + (position - block_begin) * kLanes,
                       .loss = loss_});
  }

  // Errors of columns [from, from_end) reach columns [to, to_end) of the same block.
  void Subtract(size_t from, size_t from_end, size_t block_begin, size_t to, size_t to_end) {
    if (to == to_end) return;
    plan_.loops.subtract(Weights(to), to_end - to, errors_.data() + (from - block_begin) * kLanes,
                         from_end - from, Factor(from) + to, plan_.cols);
  }

  void Store() {
    const bool by_position = !packed_.column_order.empty();
    for (size_t row = begin_; row < end_; ++row) {
      const uint8_t* lane = codes_.data() + (row - first_row_);
      for (size_t p = 0; p < plan_.cols; ++p)
        row_codes_[by_position ? p : plan_.Column(p)] = lane[p * kLanes];
      PackRow(row_codes_, packed_.bits, packed_.codes.data() + row * packed_.RowBytes());
    }
  }

  const Plan& plan_;
  PackedTensor& packed_;
  Buffer<float> weights_;         // [cols, kLanes] by position
  Buffer<float> errors_;          // [block, kLanes] of the block at hand
  Buffer<float> scales_, zeros_;  // [groups, kLanes]
  Buffer<uint8_t> codes_;         // [cols, kLanes] by position
  std::vector<float> row_;        // of one row, to find ranges
  std::vector<uint8_t> row_codes_;
  double loss_[kLanes] = {};
  size_t first_row_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace

double RoundGptq(const GptqJob& job, PackedTensor& packed) {
  LOWBIT_ASSERT(job.factor.state == GramState::kFactored && job.factor.cols() == job.weights.cols);
  LOWBIT_ASSERT(FormatOf(job.spec) == PackFormat::kUniform && packed.format == PackFormat::kUniform);
  LOWBIT_ASSERT(job.weights.cols == packed.cols && job.first_row + job.weights.rows <= packed.rows);
  LOWBIT_ASSERT(std::ranges::equal(packed.column_order, StoredOrder(job.factor, job.spec, job.options)));
  const Plan plan(job, packed);
  Tile tile(plan, packed);
  double sum = 0;
  const size_t end = job.first_row + job.weights.rows;
  for (size_t row = job.first_row; row < end;) {
    const size_t tile_end = std::min(end, (row / kLanes + 1) * kLanes);
    sum += tile.Round(row, tile_end);
    row = tile_end;
  }
  if (!std::isfinite(sum)) {
    throw Error(ErrorKind::kNumeric, job.place,
                fmt::format("the errors of rows {} to {} add up to {}, expected a finite number",
                            job.first_row, end - 1, sum))
        .Hint("a larger damp in the recipe keeps them smaller");
  }
  return sum;
}

}  // namespace lowbit
