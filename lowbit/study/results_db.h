// SPDX-License-Identifier: Apache-2.0
// The study's memory: one SQLite file, one row per cell (model, recipe, task), with where every number
// came from. The runner writes it; the report and `lowbit study --resume` read it. docs/results-db.md.
//
// One file is enough to copy: no WAL beside it. A row is one transaction, on disk when Put() returns: a
// process killed at any instant leaves the rows put so far, and the next opening rolls a half-written one
// back. A file of an older schema is read as it is, and upgraded when it is opened to write. Only our own schema is accepted, and only whole files (checked at every opening).
// Non-goals: what the numbers mean (eval), how they are shown (report), which cells there are (plan).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/base/error.h"
#include "lowbit/eval/outcomes.h"

namespace lowbit {

enum class CellStatus : uint8_t { kDone, kFailed };

// One measured number of a cell.
struct Metric {
  std::string name;                      // "perplexity", "acc", …; unique within the cell
  double value = 0;                      // finite
  std::optional<double> standard_error;  // of value, same unit, ≥ 0; nullopt = not known
  uint64_t n = 0;                        // what it was measured on: scored tokens, questions
  bool higher_is_better = false;

  bool operator==(const Metric&) const = default;
};

// What the model takes, as stored. For `full` the stored type's bits count (16 for bf16).
struct CellStorage {
  double quantized_bpw = 0;  // bits per weight of the quantized matrices, scales and zeros included
  double model_bpw = 0;      // the same over the whole model, what stays unquantized included
  uint64_t model_bytes = 0;

  bool operator==(const CellStorage&) const = default;
};

// What the numbers were made from and with. Empty text = not known (a cell that failed early).
struct CellProvenance {
  std::string weights_hash, tokenizer_hash, text_hash, recipe_hash;  // SHA-256, hex
  std::string code_version;                                          // CodeVersion()
  std::string compute_type;                                          // "f32" or "bf16"
  std::string isa;                                                   // "AVX2", "AVX-512", …
  std::string cpu;                                                   // name of the processor
  uint32_t cores = 0, threads = 0;
  std::optional<double>
      quantize_seconds;  // of this recipe's own work; nullopt: nothing quantized for this cell
  // Work that recipes of one sweep had in common, the full-precision model's pass over the calibration tokens, and
  // how many they were. Both or neither.
  std::optional<double> shared_seconds;
  std::optional<uint32_t> shared_by;
  std::optional<double> eval_seconds;
  std::optional<uint64_t> peak_bytes;  // most memory the process held while it made this cell
  std::string started;                 // UtcNow() when the cell began

  bool operator==(const CellProvenance&) const = default;
};

// What a layer of the quantized model loses on rows that no method learned from: the squared norm of its outputs'
// change over that of the outputs. docs/calibration.md.
struct LayerError {
  uint32_t layer = 0;
  std::string
      part;  // "self_attn.q_proj", of a mixture all experts' "mlp.experts.up_proj"; "layer": all of it
  double relative = 0;

  bool operator==(const LayerError&) const = default;
};

// What a linear whose inputs are rounded reads on those rows, as it reads it: after smoothing and rotation.
struct LinearInputs {
  uint32_t layer = 0;
  std::string linear;  // as LayerError names it
  double largest = 0;  // |x| over all rows
  double peak = 0;     // mean over rows of max|x| over the root mean square of x

  bool operator==(const LinearInputs&) const = default;
};

struct CellRow {
  std::string key;           // identifies the cell's inputs; unique in the database (the runner defines it)
  std::string model;         // as shown to people
  std::string model_folder;  // as the study file names it
  std::string recipe;        // canonical text: "full", "rtn-w4-g128"
  std::string method;        // "full", "rtn", …
  uint32_t weight_bits = 0;  // nominal, 1..32; of the stored type for `full`
  uint64_t group_size = 0;   // columns per group; 0 = per channel (and for `full`)
  bool symmetric = false;
  std::string task;      // "wikitext2"
  std::string protocol;  // full text: "wikitext2: raw test, one encode, windows of 512, first 100, no BOS"

  CellStatus status = CellStatus::kDone;
  std::string error_kind, error;  // Name(kind) and what() of the Error that ended a failed cell; else empty
  std::string notes;              // what was done otherwise than asked, one per line; else empty

  std::vector<Metric> metrics;  // in the task's order; none for a failed cell, at least one for a done one
  std::vector<LayerError> layer_errors;  // by layer, then part; empty: not measured
  std::vector<LinearInputs> inputs;      // by layer, then linear; empty: none are rounded, or not measured
  Outcomes outcomes;                     // what Compare needs; empty: not kept
  std::optional<CellStorage> storage;    // always there for a done cell
  CellProvenance provenance;

  bool operator==(const CellRow&) const = default;
};

// The name of a number in the row that is not finite, or negative where that cannot be, and its value; empty
// when all are fine. Put() refuses such a row.
std::string BadNumberIn(const CellRow& row);

class ResultsDb {
 public:
  enum class Mode : uint8_t { kRead, kWrite };

  // kRead: the file must exist. kWrite: creates it where there is none; several writers may be open.
  // `patience` is how long any call waits for another process's lock. Use an object on one thread at a time.
  //   Error{kMissing}   no such file (kRead), not a regular file, may not be read
  //   Error{kContent}   empty, not SQLite, damaged, another application's, or tables of ours changed
  //   Error{kConflict}  a folder, made by a newer lowbit, or locked by another process for too long
  //   WriteError        cannot be created or written: the same for Put()
  static ResultsDb Open(const std::string& path, Mode mode,
                        std::chrono::milliseconds patience = std::chrono::seconds(10));

  ResultsDb(ResultsDb&&) noexcept;
  ResultsDb& operator=(ResultsDb&&) noexcept;
  ~ResultsDb();

  // Writes one cell, all or nothing. A failed cell of the same key is replaced; a done one is not:
  // Error{kConflict}. Error{kNumeric} when a number is not finite, Error{kInternal} when the row
  // contradicts itself (a done cell without metrics, a failed one without error, an empty key, …).
  void Put(const CellRow& row);

  std::optional<CellRow> Find(std::string_view key) const;

  // Every cell, in the order of their last Put().
  std::vector<CellRow> All() const;

  const std::string& path() const;

 private:
  struct Impl;
  explicit ResultsDb(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lowbit
