// SPDX-License-Identifier: Apache-2.0
#include "lowbit/model/forward_plan.h"

#include <algorithm>
#include <vector>

#include "lowbit/base/human.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/model/layer_forward.h"
#include "lowbit/model/rope.h"
#include "lowbit/model/sizes.h"
#include "lowbit/tensor/random_matrix.h"

namespace lowbit {
namespace {

// What kernels hold for each thread and each row, rounded up (kernels/cpu: panels of 512 columns, tiles and
// attention blocks of 64 rows, copies of 512 rows that are rotated or rounded to integers).
constexpr uint64_t kPanel = 512, kTile = 64, kFormedRows = 512, kScoredAtOnce = 4096, kBranchKeys = 4096;
constexpr uint64_t kLibrary = uint64_t{6} << 20;  // the matrix library, from its first product on
constexpr uint64_t kExactColumns = 1024;  // of integers that are held in f32 at a time, where that is needed

uint64_t Floats(uint64_t count) {
  return count * sizeof(float);
}

double HeadFlop(const ModelConfig& config) {  // of one row
  return 2.0 * static_cast<double>(config.vocab_size) * static_cast<double>(config.hidden_size);
}

double HeadPasses(const ForwardJob& job) {  // over each scored row
  return job.compares ? 2 : 1;
}

class Planner {
 public:
  Planner(const LayerSource& source, const Backend& backend, const ForwardJob& job, uint64_t program_bytes)
      : source_(source),
        config_(source.config()),
        backend_(backend),
        job_(job),
        threads_(static_cast<uint64_t>(backend.threads().count())),
        program_(program_bytes) {
    for (size_t l = 0; l < config_.num_hidden_layers; ++l) Measure(l);
    const double pairs = static_cast<double>(job_.rows) * static_cast<double>(job_.longest) / 2;
    flop_ = static_cast<double>(job_.rows) * (FlopPerToken(config_) - HeadFlop(config_)) +
            HeadPasses(job_) * static_cast<double>(job_.scored) * HeadFlop(config_) +
            pairs * AttentionFlopPerPosition(config_);
  }

  // Cuts from the largest pieces to the smallest.
  std::vector<ForwardPlan> Candidates() const {
    std::vector<ForwardPlan> plans;
    for (const bool keeps : {true, false}) {
      if (keeps && !job_.repeats) continue;
      for (const size_t group : Groups()) AddBoth(Plan(keeps, false, job_.rows, group), plans);
    }
    // Without experts larger pieces than a group gain nothing; experts are prepared once for each piece.
    for (size_t rows = has_experts_ ? job_.rows / 2 : 0;; rows /= 2) {
      const size_t held = std::max(rows, job_.longest);
      for (const size_t group : Groups()) AddBoth(Plan(false, true, std::max(held, group), group), plans);
      if (held == job_.longest) return plans;
    }
  }

 private:
  // Of linears: prepared, and of those that are packed what Layer() owns and a layer file holds.
  struct LinearBytes {
    uint64_t prepared = 0, experts_prepared = 0, owned = 0, largest_owned = 0, in_file = 0;
  };

  LinearBytes MeasureLinears(size_t l) {
    const LayerLayout& layer = source_.layout().layers[l];
    const auto packed = source_.PackedLinears(l);
    LinearBytes bytes;
    for (const LinearSpec& linear : layer.linears) {
      const bool is_expert = layer.experts && linear.name.starts_with("mlp.");
      uint64_t& prepared = is_expert ? bytes.experts_prepared : bytes.prepared;
      widest_ = std::max<uint64_t>(widest_, linear.in);
      const auto it = packed.find(linear.name);
      if (it == packed.end()) {
        prepared += backend_.PreparedBytes(linear.out, linear.in);
        panel_ = std::max(panel_, FloatPanel(linear.in));
        continue;
      }
      const PackedSettings& settings = it->second;
      prepared += backend_.PreparedBytes(settings);
      panel_ = std::max(panel_, settings.input.bits > 0 ? IntegerPanel(linear.in) : FloatPanel(linear.in));
      bytes.owned += settings.Bytes(DType::kF32);
      bytes.largest_owned = std::max(bytes.largest_owned, settings.Bytes(DType::kF32));
      bytes.in_file += settings.Bytes(settings.scale_type);
    }
    return bytes;
  }

  void Measure(size_t l) {
    const LayerLayout& layer = source_.layout().layers[l];
    const LinearBytes linears = MeasureLinears(l);
    uint64_t prepared = linears.prepared;
    if (layer.experts) {
      has_experts_ = true;
      // Packed experts stay until rows have passed: one is prepared at a time.
      prepared += linears.experts_prepared / layer.experts->count +
                  Floats(layer.experts->router.out * layer.experts->router.in) + linears.owned;
      experts_ = std::max<uint64_t>(experts_, layer.experts->count);
      active_ = std::max<uint64_t>(active_, layer.experts->active);
    } else {
      has_dense_ = true;
    }
    one_layer_ = std::max(one_layer_, prepared);
    all_layers_ += prepared;
    const uint64_t stored = source_.StoredBytes(l);
    stored_ += stored;
    if (linears.owned > 0) {
      // A layer file is read and checked before anything is prepared; linears that it leaves to the base are mapped.
      // A dense layer's packed linears leave one by one, each when it has been prepared.
      const uint64_t reading = linears.in_file + linears.owned;
      const uint64_t making = std::max(prepared, linears.owned) + linears.largest_owned;
      preparing_ = std::max(preparing_, std::max(reading, making) - prepared);
      read_ = std::max(read_, stored - std::min(stored, linears.in_file));
    } else if (layer.experts) {
      running_ = std::max(running_, AttentionAndOneExpert(layer, stored));
    } else {
      read_ = std::max(read_, stored);
    }
  }

  // Of a mixture's stored linears those whose pages are mapped while rows pass through it.
  static uint64_t AttentionAndOneExpert(const LayerLayout& layer, uint64_t stored) {
    double weights = 0, mapped = 0;
    for (const LinearSpec& linear : layer.linears) {
      const bool is_expert = linear.name.starts_with("mlp.");
      const double size = static_cast<double>(linear.out) * static_cast<double>(linear.in);
      weights += size;
      mapped += is_expert ? size / static_cast<double>(layer.experts->count) : size;
    }
    return static_cast<uint64_t>(static_cast<double>(stored) * mapped / weights);
  }

  // What a thread holds while it makes a panel.
  uint64_t FloatPanel(uint64_t in) const {
    return Floats(kPanel * in) + (backend_.compute() == Compute::kBF16 ? kPanel * in * sizeof(uint16_t) : 0);
  }
  static uint64_t IntegerPanel(uint64_t in) { return kPanel * in + Floats(kPanel * kExactColumns); }

  // Rows that pass through attention together: whole sequences.
  std::vector<size_t> Groups() const {
    std::vector<size_t> groups;
    for (size_t rows = kRowsPerGroup; rows > job_.longest; rows /= 2)
      groups.push_back(std::min(rows, job_.rows));
    groups.push_back(job_.longest);
    groups.erase(std::unique(groups.begin(), groups.end()), groups.end());
    return groups;
  }

  // With working memory kept from layer to layer, and without. A mixture's experts need it back.
  void AddBoth(ForwardPlan plan, std::vector<ForwardPlan>& plans) const {
    plan.keeps_scratch = !has_experts_;
    if (plan.keeps_scratch) plans.push_back(plan);
    plan.keeps_scratch = false;
    plans.push_back(plan);
  }

  ForwardPlan Plan(bool keeps, bool in_file, size_t held, size_t group) const {
    ForwardPlan plan;
    plan.keeps_layers = keeps;
    plan.scratch_file = in_file;
    plan.rows_in_memory = std::min(held, job_.rows);
    plan.rows_per_group = group;
    plan.program = program_ + kLibrary;
    plan.weights = keeps ? all_layers_ : one_layer_;
    plan.mapped = std::max(read_ + preparing_, running_) + threads_ * panel_;
    plan.activations = Floats(plan.rows_in_memory * config_.hidden_size) + job_.kept_bytes;
    plan.working = Working(group, plan.rows_in_memory);
    plan.head = Head() + (job_.compares ? Comparison() : 0);
    plan.bytes_read = stored_ + source_.config().vocab_size * config_.hidden_size * sizeof(uint16_t);
    plan.flop = flop_;
    return plan;
  }

  uint64_t Working(uint64_t group, uint64_t held) const {
    const uint64_t h = config_.hidden_size, q = config_.QuerySize(), kv = config_.KeyValueSize(),
                   d = config_.head_dim;
    const bool copies = backend_.compute() == Compute::kBF16;  // a product's input, rounded
    const uint64_t tiles = 2 * threads_ * Floats(kTile * kPanel);
    const uint64_t mlp_rows = has_dense_ ? std::min<uint64_t>(group, kRowsPerMlp) : 0;
    uint64_t dense = Floats(group * (h + 2 * q + 2 * kv) + mlp_rows * config_.intermediate_size) + tiles;
    const uint64_t padded = group + kTile * std::min<uint64_t>(job_.sequences, group);
    const uint64_t packed = job_.branches ? kBranchKeys + job_.longest + kTile : padded;
    // Keys and values of the way to a branch, in front of the group's own and kept for the next one.
    if (job_.branches) dense += Floats(4 * job_.longest * kv);
    const uint64_t attention =
        Floats(packed * 2 * kv + threads_ * 2 * kTile * (job_.longest + kTile + 2 * d));
    const uint64_t rounded =
        copies ? sizeof(uint16_t) * std::max(group * std::max(h, q), mlp_rows * config_.intermediate_size)
               : Floats(std::clamp(group, kTile, kFormedRows) * widest_);
    dense += std::max(attention, rounded) + Floats(job_.longest * d);  // and the rotary table
    if (!has_experts_) return dense;
    const uint64_t rows = std::min<uint64_t>(held, kRowsPerMlp), inner = config_.moe_intermediate_size;
    const uint64_t formed = Floats(std::min(rows, kFormedRows) * std::max(h, inner));
    const uint64_t mixture =
        Floats(held * (h + experts_) + rows * (2 * h + inner)) + held * active_ * 12 + tiles + formed;
    return std::max(dense, mixture + running_ + threads_ * panel_);
  }

  uint64_t Head() const {
    const uint64_t h = config_.hidden_size, rows = std::min<uint64_t>(job_.scored, kScoredAtOnce);
    const uint64_t panels = (config_.vocab_size + kPanel - 1) / kPanel;
    const uint64_t rounded = backend_.compute() == Compute::kBF16 ? rows * h * sizeof(uint16_t) : 0;
    return Floats(rows * h) + rounded + rows * panels * 12 + job_.scored * sizeof(TokenScore) +
           threads_ * (backend_.PreparedBytes(kPanel, h) + Floats(kPanel * h + kTile * kPanel) +
                       (rounded > 0 ? kPanel * h * sizeof(uint16_t) : 0));
  }

  // What CompareHeads takes beyond scoring: the other rows, longer summaries, a second panel for each thread.
  uint64_t Comparison() const {
    constexpr uint64_t kMoreOfSummary = 20;
    const uint64_t h = config_.hidden_size, rows = std::min<uint64_t>(job_.scored, kScoredAtOnce);
    const uint64_t panels = (config_.vocab_size + kPanel - 1) / kPanel;
    const uint64_t rounded = backend_.compute() == Compute::kBF16 ? rows * h * sizeof(uint16_t) : 0;
    return Floats(rows * h) + rounded + rows * panels * kMoreOfSummary +
           2 * job_.scored * sizeof(RowDivergence) +
           threads_ * (backend_.PreparedBytes(kPanel, h) + Floats(kTile * kPanel));
  }

  const LayerSource& source_;
  const ModelConfig& config_;
  const Backend& backend_;
  const ForwardJob& job_;
  uint64_t threads_, program_;
  double flop_ = 0;
  uint64_t panel_ = 0, one_layer_ = 0, all_layers_ = 0, stored_ = 0, widest_ = 0, experts_ = 0, active_ = 0;
  uint64_t read_ = 0, running_ = 0;  // mapped pages while a layer is prepared, and while rows pass through it
  uint64_t preparing_ = 0;           // what a layer file takes then beyond the prepared layer
  bool has_experts_ = false, has_dense_ = false;
};

}  // namespace

uint64_t ForwardPlan::Peak() const {
  return program + activations +
         std::max(weights + (keeps_scratch ? mapped + working : std::max(mapped, working)),
                  (keeps_layers ? weights : 0) + head);
}

std::string ForwardPlan::Text() const {
  return fmt::format("{}: {} of weights at a time, {} activations{}, {} working memory, {} head, {} program",
                     HumanBytes(Peak()), HumanBytes(weights + mapped), HumanBytes(activations),
                     scratch_file ? " (the rest in a scratch file)" : "", HumanBytes(working),
                     HumanBytes(head), HumanBytes(program));
}

ForwardPlan PlanForward(const LayerSource& source, const Backend& backend, const ForwardJob& job,
                        const MemoryBudget& budget) {
  const uint64_t bytes = budget.Bytes();
  const std::vector<ForwardPlan> plans = Planner(source, backend, job, budget.ProgramBytes()).Candidates();
  if (budget.least) return *std::ranges::min_element(plans, {}, &ForwardPlan::Peak);
  const auto fitting = std::ranges::find_if(plans, [&](const ForwardPlan& p) { return p.Peak() <= bytes; });
  if (fitting != plans.end()) return *fitting;
  const ForwardPlan& least = *std::ranges::min_element(plans, {}, &ForwardPlan::Peak);
  throw Error(ErrorKind::kResource,
              fmt::format("{} of memory {}, expected at least {} for sequences of {} tokens ({})",
                          HumanBytes(bytes), budget.bytes > 0 ? "allowed by --ram" : "to be had",
                          HumanBytes(least.Peak()), job.longest, least.Text()))
      .Hint("shorter windows or fewer threads need less");
}

double ProbeSeconds(const LayerSource& source, const Backend& backend, const ForwardJob& job) {
  if (job.rows == 0) return 0;
  const ModelConfig& c = source.config();
  const size_t few = std::min<size_t>(job.longest, 64), many = std::min<size_t>(job.longest, 320);
  Matrix x = RandomMatrix(job.longest, c.hidden_size);
  const RopeTable rope = MakeRopeTable(c, job.longest);
  size_t layer = c.num_hidden_layers - 1;  // in a mixture with some dense layers the last one is sparse
  std::unique_ptr<PreparedLayer> prepared;
  const double prepare =
      SecondsOf([&] { prepared = std::make_unique<PreparedLayer>(source, layer, backend); });
  // As Decoder does: no plan has room for these pages beside what follows.
  if (!source.layout().layers[layer].experts) source.Release(layer);
  LayerScratch scratch;
  const auto run = [&](size_t rows) {
    const std::vector<SequenceRows> one = {{0, rows, 0}};
    return LeastSecondsOf([&] { prepared->Run(rope, one, rows, x.view(), scratch); });
  };
  run(few);  // compiles kernels
  const double of_few = run(few), of_many = run(many);
  const double per_row = many > few ? std::max(0.0, of_many - of_few) / static_cast<double>(many - few)
                                    : of_few / static_cast<double>(few);
  const double fixed = std::max(0.0, of_few - per_row * static_cast<double>(few));

  Matrix q(job.longest, c.QuerySize()), k = RandomMatrix(job.longest, c.KeyValueSize()),
                                        mixed(job.longest, c.QuerySize());
  std::fill_n(q.data(), q.rows() * q.cols(), 0.1f);
  const std::vector<SequenceRows> longest = {{0, job.longest, 0}};
  const auto attend = [&] {
    backend.Attention(q.view(), k.view(), k.view(),
                      {c.num_attention_heads, c.num_key_value_heads, c.head_dim}, longest, mixed.view());
  };
  attend();
  const double attention = LeastSecondsOf(attend);
  source.Release(layer);

  const double rows = static_cast<double>(job.rows), layers = static_cast<double>(c.num_hidden_layers);
  const double seconds_per_flop = per_row / ((FlopPerToken(c) - HeadFlop(c)) / layers);
  const double head = HeadPasses(job) * static_cast<double>(job.scored) * HeadFlop(c) * seconds_per_flop;
  return layers * (prepare + fixed + rows * per_row + rows / static_cast<double>(job.longest) * attention) +
         head;
}

}  // namespace lowbit
