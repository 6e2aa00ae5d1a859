// SPDX-License-Identifier: Apache-2.0
// The tables of results.db that keep each answer and each window of a cell (ResultsDb's own).
#pragma once

#include <string>

#include "lowbit/eval/outcomes.h"
#include "lowbit/study/sqlite.h"

namespace lowbit {

inline constexpr const char* kAnswersTable = R"(CREATE TABLE answers (
  cell_id INTEGER NOT NULL REFERENCES cells (id) ON DELETE CASCADE,
  item INTEGER NOT NULL CHECK (item >= 0),
  subset TEXT NOT NULL,
  gold INTEGER NOT NULL CHECK (gold >= 0),
  log_likelihoods TEXT NOT NULL,
  acc INTEGER NOT NULL CHECK (acc IN (0, 1)),
  acc_norm INTEGER CHECK (acc_norm IN (0, 1)),
  PRIMARY KEY (cell_id, item)
) STRICT, WITHOUT ROWID)";

inline constexpr const char* kWindowsTable = R"(CREATE TABLE windows (
  cell_id INTEGER NOT NULL REFERENCES cells (id) ON DELETE CASCADE,
  position INTEGER NOT NULL CHECK (position >= 0),
  loss REAL NOT NULL,
  weight REAL NOT NULL CHECK (weight > 0),
  PRIMARY KEY (cell_id, position)
) STRICT, WITHOUT ROWID)";

// Of one cell. Inside the caller's transaction. Log-likelihoods are a JSON array, each number with the digits that give
// it back to the last bit. ReadOutcomes throws Error{kContent} for one that is not.
void PutOutcomes(const SqliteFile& file, int64_t cell, const Outcomes& outcomes);
Outcomes ReadOutcomes(const SqliteFile& file, int64_t cell);

// Why these cannot be a cell's, in words; empty when they can.
std::string BadOutcomes(const Outcomes& outcomes);

}  // namespace lowbit
