// SPDX-License-Identifier: Apache-2.0
// Comma-separated values as RFC 4180 defines them: strict, with file and line in every error.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/base/error.h"

namespace lowbit {

struct CsvLimits {
  size_t max_record_bytes = size_t{1} << 20;
};

// `line` counts from 1: where the record begins, which may span lines.
using CsvCallback = std::function<void(size_t line, const std::vector<std::string>& fields)>;

// Calls `callback` for every record of a UTF-8 text with `columns` fields each and no header. Lines end with LF
// or CR LF, the last one perhaps without; empty lines are skipped. Fields in quotes may hold commas, doubled
// quotes and line ends, which stay as they are; nothing is trimmed. Throws Error{kContent} naming the line for
// another number of fields, a quote that is not closed, a quote inside a field without quotes, anything behind
// a closing quote, a lone CR, a NUL byte and a record over the limit.
void ForEachCsvRecordIn(std::string_view text, const Place& file, size_t columns, const CsvCallback& callback,
                        CsvLimits limits = {});

// The same for a file, ".gz" and ".zst" by its name. Throws what ReadTextFile throws.
void ForEachCsvRecord(const std::string& path, size_t columns, const CsvCallback& callback,
                      CsvLimits limits = {});

}  // namespace lowbit
