// SPDX-License-Identifier: Apache-2.0
// Invented rows that look like a study's: for tests and for looking at the page. No part of the program.
#pragma once

#include <fmt/format.h>

#include <cmath>
#include <string>
#include <vector>

#include "lowbit/study/results_db.h"

namespace lowbit::fixture {

struct Model {
  std::string name;
  double quantized_weights = 0, other_bytes = 0;
};

inline const Model kSmall{"Qwen3-0.6B", 440e6, 311e6};
inline const Model kTiny{"Tiny-Llama", 96e6, 66e6};

inline CellRow Row(const Model& model, const std::string& method, uint32_t bits, uint64_t group,
                   const std::string& task) {
  CellRow row;
  row.model = model.name;
  row.model_folder = "models/" + model.name;
  row.method = method;
  const bool full = method == "full";
  row.recipe =
      full ? "full"
           : fmt::format("{}-w{}-{}", method, bits, group == 0 ? "channel" : fmt::format("g{}", group));
  row.weight_bits = bits;
  row.group_size = group;
  row.task = task;
  row.protocol = task + ": raw test, one encode, windows of 512, first 100, no BOS";
  row.key = fmt::format("{}/{}/{}", model.name, row.recipe, task);
  // One f16 scale and one zero of `bits` bits a group; rows of 1024 columns.
  const double columns = group == 0 ? 1024 : static_cast<double>(group);
  const double bpw = full ? bits : bits + (16.0 + bits) / columns;
  const double bytes = model.quantized_weights * bpw / 8 + model.other_bytes;
  row.storage = CellStorage{bpw, 8 * bytes / (model.quantized_weights + model.other_bytes / 2),
                            static_cast<uint64_t>(bytes)};
  row.provenance = {.weights_hash = std::string(60, 'a') + model.name.substr(0, 4),
                    .tokenizer_hash = std::string(64, 'b'),
                    .text_hash = std::string(64, 'c'),
                    .recipe_hash = std::string(64, 'd'),
                    .code_version = "0.1.0+1a2b3c4d5e6f",
                    .compute_type = "f32",
                    .isa = "AVX-512",
                    .cpu = "Example CPU 9000 @ 2.10GHz",
                    .cores = 8,
                    .threads = 8,
                    .quantize_seconds = full ? std::nullopt : std::optional(3.25),
                    .shared_seconds = method == "gptq" ? std::optional(1.5) : std::nullopt,
                    .shared_by = method == "gptq" ? std::optional(2u) : std::nullopt,
                    .eval_seconds = 41.5,
                    .peak_bytes = uint64_t{2'140'000'000},
                    .started = fmt::format("2026-01-31T12:{:02}:00Z", bits)};
  return row;
}

inline CellRow Perplexity(const Model& model, const std::string& method, uint32_t bits, uint64_t group,
                          double value) {
  CellRow row = Row(model, method, bits, group, "wikitext2");
  row.metrics = {{"perplexity", value, value * 0.0123, 51100, false}};
  return row;
}

// `row` compared with full precision.
inline CellRow WithDivergence(CellRow row, double kl) {
  row.metrics.push_back({"kl_mean", kl, kl * 0.02, 51100, false});
  row.metrics.push_back({"kl_median", kl * 0.6, std::nullopt, 51100, false});
  row.metrics.push_back({"kl_p99", kl * 7, std::nullopt, 51100, false});
  row.metrics.push_back({"top1_agreement", 1 / (1 + kl), 0.004, 51100, true});
  return row;
}

inline CellRow Accuracy(const Model& model, const std::string& method, uint32_t bits, uint64_t group,
                        double acc) {
  CellRow row = Row(model, method, bits, group, "piqa");
  row.protocol = "piqa v1.0: 0-shot, validation, log-likelihood of the continuation";
  row.metrics = {{"acc", acc, 0.0109, 1838, true}, {"acc_norm", acc + 0.0123456789, 0.0108, 1838, true}};
  return row;
}

inline CellRow Failed(CellRow row, const std::string& kind, const std::string& error) {
  row.status = CellStatus::kFailed;
  row.error_kind = kind;
  row.error = error;
  row.metrics.clear();
  row.storage.reset();
  return row;
}

struct Grid {
  uint32_t bits;
  double channel, g128, g64;
};

inline const std::vector<Grid> kGrid = {{8, 83.754, 83.731, 83.7252},  {6, 83.9912, 83.8018, 83.7944},
                                        {5, 85.41, 84.3021, 84.1157},  {4, 100.513, 86.0312, 85.2216},
                                        {3, 264.61, 121.337, 104.902}, {2, 6120.5, 1207.3, 402.88},
                                        {1, 2.1e6, 2.134e5, 21034.7}};

inline std::vector<CellRow> OneModel() {
  std::vector<CellRow> rows = {Perplexity(kSmall, "full", 16, 0, 83.7203)};
  for (const Grid& grid : kGrid) {
    rows.push_back(Perplexity(kSmall, "rtn", grid.bits, 0, grid.channel));
    rows.push_back(Perplexity(kSmall, "rtn", grid.bits, 128, grid.g128));
    rows.push_back(Perplexity(kSmall, "rtn", grid.bits, 64, grid.g64));
  }
  return rows;
}

// As a study writes them: quantized models are compared with full precision, which is not compared with itself.
inline std::vector<CellRow> Compared() {
  std::vector<CellRow> rows = OneModel();
  for (CellRow& row : rows) {
    if (row.method != "full") row = WithDivergence(row, std::log(row.metrics[0].value / 83.72) + 2e-4);
  }
  return rows;
}

// Questions of two subjects with their answers beside the perplexities: fewer bits answer fewer of them.
inline std::vector<CellRow> Answered() {
  std::vector<CellRow> rows = Compared();
  const size_t texts = rows.size();
  for (size_t r = 0; r < texts; ++r) {
    CellRow row = rows[r];
    row.key += " mmlu";
    row.task = "mmlu";
    row.protocol = "invented questions of two subjects";
    const uint32_t wrong = row.method == "full" ? 10 : 10 + 30 / row.weight_bits;
    for (uint32_t i = 0; i < 60; ++i) {
      const bool is_right = (i * 7 + (row.method == "full" ? 0 : row.weight_bits)) % 60 >= wrong;
      row.outcomes.answers.push_back({i < 30 ? "law" : "physics", 0, {-1, -2}, is_right, std::nullopt});
    }
    size_t right = 0;
    for (const Answer& answer : row.outcomes.answers) right += answer.acc ? 1 : 0;
    row.metrics = {{"acc", static_cast<double>(right) / 60, 0.05, 60, true}};
    rows.push_back(row);
  }
  return rows;
}

// Output errors of `layers` layers: the last ones lose most, and down_proj more than its layer.
inline CellRow WithLayerErrors(CellRow row, uint32_t layers) {
  for (uint32_t l = 0; l < layers; ++l) {
    const double error =
        std::pow(4.0, -static_cast<double>(row.weight_bits)) * (1 + l) / (1 + row.group_size % 7);
    row.layer_errors.push_back({l, "layer", error});
    row.layer_errors.push_back({l, "mlp.down_proj", 2 * error});
    row.layer_errors.push_back({l, "self_attn.q_proj", 0.5 * error});
    if (row.weight_bits != 4) continue;  // these round inputs too
    row.layer_errors.push_back({l, "mlp.down_proj inputs", 8 * error});
    row.inputs.push_back({l, "mlp.down_proj", 1.0 + 100 * l, 4.0 + l});
  }
  return row;
}

inline std::vector<CellRow> Measured() {
  std::vector<CellRow> rows = Compared();
  for (CellRow& row : rows) {
    if (row.method != "full") row = WithLayerErrors(row, 28);
  }
  return rows;
}

inline constexpr const char* kHostile = "</script><img src=x onerror=alert(1)>\"'&,|_%$#{}~^\\";

// Two models, two tasks with three metrics, failed cells, notes, names that attack every output format.
inline std::vector<CellRow> TwoModels() {
  std::vector<CellRow> rows = OneModel();
  rows.push_back(Accuracy(kSmall, "full", 16, 0, 0.6741));
  for (const Grid& grid : kGrid) {
    rows.push_back(Accuracy(kSmall, "rtn", grid.bits, 128, 0.6741 - 0.17 / (grid.bits * grid.bits)));
  }
  rows.push_back(
      Failed(Row(kSmall, "gptq", 4, 128, "wikitext2"), "numeric",
             "tensor 'model.layers.3.mlp.down_proj.weight': pivot 17 of the Cholesky factor is -1.2e-05, "
             "expected a positive number (hint: raise damp)"));
  rows[5].notes = "layer 7: one column without activations\nlayer 9: scale rounded up to the smallest f16";
  rows.push_back(Perplexity(kTiny, "full", 16, 0, 11.42));
  for (const Grid& grid : kGrid) {
    if (grid.bits < 3) continue;
    rows.push_back(Perplexity(kTiny, "rtn", grid.bits, 0, 11.42 + 5.0 / (grid.bits * grid.bits)));
    rows.push_back(Perplexity(kTiny, "rtn", grid.bits, 64, 11.42 + 2.2 / (grid.bits * grid.bits)));
  }
  Model hostile = kTiny;
  hostile.name = kHostile;
  rows.push_back(Perplexity(hostile, "full", 16, 0, 50));
  rows.push_back(Perplexity(hostile, "rtn", 4, 128, 60));
  rows.push_back(Failed(Row(hostile, "rtn", 2, 128, "wikitext2"), "content", kHostile));
  return rows;
}

// Nine lines in one chart, a model without full precision, and one of which nothing worked.
inline std::vector<CellRow> ManyLines() {
  std::vector<CellRow> rows = {Perplexity(kSmall, "full", 16, 0, 83.7203)};
  double share = 1;  // of what plain rounding loses
  for (const char* method : {"rtn", "gptq", "awq"}) {
    for (const Grid& grid : kGrid) {
      if (grid.bits < 2) continue;
      const auto value = [share](double rounded) { return 83.7203 + share * (rounded - 83.7203); };
      rows.push_back(Perplexity(kSmall, method, grid.bits, 0, value(grid.channel)));
      rows.push_back(Perplexity(kSmall, method, grid.bits, 128, value(grid.g128)));
      rows.push_back(Perplexity(kSmall, method, grid.bits, 64, value(grid.g64)));
    }
    share *= 0.4;
  }
  for (const Grid& grid : kGrid)
    rows.push_back(Perplexity(kTiny, "rtn", grid.bits, 64, 11.42 + 2.2 / grid.bits));
  const Model broken{"Broken-1B", 1e9, 1e8};
  for (const uint32_t bits : {4, 3}) {
    rows.push_back(
        Failed(Row(broken, "rtn", bits, 128, "wikitext2"), "missing", "models/Broken-1B: no such folder"));
  }
  return rows;
}

}  // namespace lowbit::fixture
