// SPDX-License-Identifier: Apache-2.0
// The tables of results.db that say what each layer of a quantized model loses, and what its linears read where that is
// rounded (ResultsDb's own).
#pragma once

#include <string>
#include <vector>

#include "lowbit/study/results_db.h"
#include "lowbit/study/sqlite.h"

namespace lowbit {

inline constexpr const char* kLayerErrorsTable = R"(CREATE TABLE layer_errors (
  cell_id INTEGER NOT NULL REFERENCES cells (id) ON DELETE CASCADE,
  layer INTEGER NOT NULL CHECK (layer >= 0),
  part TEXT NOT NULL CHECK (part <> ''),
  relative_error REAL NOT NULL CHECK (relative_error >= 0),
  PRIMARY KEY (cell_id, layer, part)
) STRICT)";

inline constexpr const char* kInputsTable = R"(CREATE TABLE inputs (
  cell_id INTEGER NOT NULL REFERENCES cells (id) ON DELETE CASCADE,
  layer INTEGER NOT NULL CHECK (layer >= 0),
  linear TEXT NOT NULL CHECK (linear <> ''),
  largest REAL NOT NULL CHECK (largest >= 0),
  peak REAL NOT NULL CHECK (peak >= 0),
  PRIMARY KEY (cell_id, layer, linear)
) STRICT)";

// Of one cell. Inside the caller's transaction.
void PutLayerErrors(const SqliteFile& file, int64_t cell, const std::vector<LayerError>& errors);
void PutInputs(const SqliteFile& file, int64_t cell, const std::vector<LinearInputs>& inputs);
std::vector<LayerError> ReadLayerErrors(const SqliteFile& file, int64_t cell);
std::vector<LinearInputs> ReadInputs(const SqliteFile& file, int64_t cell);

// Why these cannot be a cell's, in words; empty when they can.
std::string BadLayerErrors(const std::vector<LayerError>& errors);
std::string BadInputs(const std::vector<LinearInputs>& inputs);

}  // namespace lowbit
