// SPDX-License-Identifier: Apache-2.0
// Where data sets are, and what a line of one must hold.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lowbit/base/json.h"
#include "lowbit/eval/task.h"
#include "lowbit/text/text_file.h"

namespace lowbit {

// The path of the first file, plain or as .gz or .zst, that one of the data folders (DataFolders) holds under one
// of `names`. Throws Error{kMissing} saying where it looked, and Error{kContent} where one folder holds several.
std::string FindDataFile(std::span<const std::string_view> names, const TaskOptions& options);

// The same in one folder; empty where it holds none.
std::string FindDataFileIn(const std::string& folder, std::span<const std::string_view> names);

// Says so where the folder that was named is not the one that has `path`: another folder may have a slice only.
void WarnIfElsewhere(const TaskOptions& options, const std::string& folder, const std::string& path);

// "piqa/valid" of "piqa/valid.jsonl.gz".
std::string WithoutExtensions(const std::string& path);

// SHA-256 of the file, or where there are several of their names and hashes, in order.
std::string HashOfFiles(std::span<const std::string> paths);

// As ForEachJsonLine, with the limits of data sets, whose lines are short. Throws Error{kContent} for a file
// without a single line too.
void ForEachRow(const std::string& path,
                const std::function<void(const Place& line, const Json& row)>& visit);

// Members of a row, all required: throw Error{kContent} naming the key at `place`.
const Json& RequireMember(const Json& row, const std::string& key, const Place& place);
std::vector<std::string> RequireStrings(const Json& row, const std::string& key, const Place& place);
// An index from `first` to `first` + count - 1, as an integer or as a string of its digit: returned from 0.
size_t RequireIndex(const Json& row, const std::string& key, size_t first, size_t count, const Place& place);

}  // namespace lowbit
