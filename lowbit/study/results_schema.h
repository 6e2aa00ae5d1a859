// SPDX-License-Identifier: Apache-2.0
// The tables of results.db: how they are made, checked and brought up from older versions (ResultsDb's own).
// docs/results-db.md.
#pragma once

#include <cstdint>
#include <string>

#include "lowbit/study/sqlite.h"

namespace lowbit {

inline constexpr int64_t kSchemaVersion = 4;  // change it with every change of the tables
inline constexpr int64_t kSharedTimeSince = 2, kLayerErrorsSince = 2, kOutcomesSince = 3, kInputsSince = 4;

// Our own rows stay far below; a longer value comes from another hand.
inline constexpr int kMaxValueBytes = 16 << 20;

// A look at the file before SQLite touches it. Returns whether there is one; where `must_exist`, there is. Throws
// Error{kMissing}, Error{kContent} or Error{kConflict} for what cannot be a results database.
bool CheckResultsFile(const std::string& path, bool must_exist);

// An empty database under `path`, whole from its first moment; where another process was faster, its own stays.
// Throws WriteError.
void CreateResultsFile(const std::string& path);

// Throws unless the open file is a whole results database of a version we know. Returns that version.
int64_t CheckSchema(SqliteFile& file);

// From any older version to kSchemaVersion, all or nothing; another process may have done it meanwhile.
void UpgradeSchema(SqliteFile& file);

}  // namespace lowbit
