// SPDX-License-Identifier: Apache-2.0
// Statistics on disk: one safetensors file for a model, or one per layer (StatisticsFileName), written
// atomically. Of tap NAME, little-endian:
//   NAME.gram     U8 [width (width + 1) / 2, 8]  f64 of the upper triangle, row by row; absent without a Gram matrix
//   NAME.sum_abs  U8 [width, 8]                  f64
//   NAME.max_abs  F32 [width]
//   NAME.samples  F32 [rows, width]              absent when no rows are kept
// Metadata: "lowbit_statistics" is the version of this, "origin" and "tap:NAME" are JSON, "experts:LAYER" a list of
// tokens by expert, and "content" a SHA-256 over all of it: a file with a flipped bit is refused.
#pragma once

#include <span>
#include <string>

#include "lowbit/calib/statistics.h"

namespace lowbit {

std::string StatisticsFileName(size_t layer);  // "statistics-00007.safetensors"

// The bytes depend on the content only. Returns the content hash. Throws Error{kNumeric} for what is not
// finite, Error{kInternal} for an origin that is not filled in, WriteError.
std::string WriteStatistics(const std::string& path, const ModelStatistics& statistics);

// Whether Gram matrices are read: they are most of a file, and checked either way.
enum class ReadGrams : uint8_t { kYes, kNo };

// Throws Error{kMissing}, or Error{kContent} naming the file and the tap or tensor: sizes that do not fit, what
// is not finite or negative where it cannot be, counts that contradict each other, a content that has another
// hash than the header says.
ModelStatistics ReadStatistics(const std::string& path, ReadGrams grams = ReadGrams::kYes);
ModelStatistics ParseStatistics(std::span<const std::byte> file, const std::string& path,
                                ReadGrams grams = ReadGrams::kYes);

// Throws Error{kConflict} naming the first thing that differs, with both values, unless the statistics in `path`
// were made from `expected`.
void RequireOrigin(const StatisticsOrigin& found, const StatisticsOrigin& expected, const std::string& path);

}  // namespace lowbit
