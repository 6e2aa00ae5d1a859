// SPDX-License-Identifier: Apache-2.0
#include "lowbit/eval/data_files.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "lowbit/base/files.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/log.h"

namespace lowbit {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxRowBytes = size_t{1} << 20;

}  // namespace

std::vector<std::string> DataFolders(const TaskOptions& options) {
  std::vector<std::string> folders;
  if (!options.data_folder.empty()) {
    RequireDirectory(options.data_folder, "a folder of data sets");
    folders.push_back(options.data_folder);
  }
  if (const char* variable = std::getenv("LOWBIT_DATA"); variable != nullptr && *variable != '\0')
    folders.emplace_back(variable);
  std::error_code code;
  const fs::path program = fs::read_symlink("/proc/self/exe", code);
  for (const char* relative : {"../share/lowbit/data", "../../data"}) {  // installed; build/release/lowbit
    const fs::path folder = (program.parent_path() / relative).lexically_normal();
    if (fs::is_directory(folder, code)) folders.push_back(folder.string());
  }
  return folders;
}

std::string FindDataFileIn(const std::string& folder, std::span<const std::string_view> names) {
  std::string found;
  for (const std::string_view name : names) {
    for (const std::string_view end : {"", ".gz", ".zst"}) {
      const std::string path = (fs::path(folder) / (std::string(name) + std::string(end))).string();
      std::error_code code;
      if (!fs::exists(path, code)) continue;
      if (!found.empty())
        throw Error(ErrorKind::kContent, Place(path), fmt::format("stands beside {}, expected one", found));
      found = path;
    }
  }
  return found;
}

std::string FindDataFile(std::span<const std::string_view> names, const TaskOptions& options) {
  std::string tried;
  for (const std::string& folder : DataFolders(options)) {
    if (std::string path = FindDataFileIn(folder, names); !path.empty()) {
      WarnIfElsewhere(options, folder, path);
      return path;
    }
    tried += (tried.empty() ? "" : ", ") + folder;
  }
  throw Error(ErrorKind::kMissing, Place(std::string(names[0])),
              fmt::format("not found in {}", tried.empty() ? "any data folder" : tried))
      .Hint("name the folder that holds it with --data or $LOWBIT_DATA");
}

void WarnIfElsewhere(const TaskOptions& options, const std::string& folder, const std::string& path) {
  if (options.data_folder.empty() || folder == options.data_folder) return;
  LogWarning(fmt::format("{} has no such data, taken: {}", options.data_folder, path));
}

std::string WithoutExtensions(const std::string& path) {
  return fs::path(std::string(WithoutCompression(path))).replace_extension().string();
}

std::string HashOfFiles(std::span<const std::string> paths) {
  if (paths.size() == 1) return Sha256OfFile(paths[0]);
  std::string list;
  for (const std::string& path : paths)
    list += fmt::format("{} {}\n", fs::path(path).filename().string(), Sha256OfFile(path));
  return Sha256Hex(list);
}

void ForEachRow(const std::string& path,
                const std::function<void(const Place& line, const Json& row)>& visit) {
  const Place file(path);
  size_t rows = 0;
  ForEachJsonLine(path,
                  [&](size_t line, const Json& row) {
                    visit(file.Line(line), row);
                    ++rows;
                  },
                  {.max_line_bytes = kMaxRowBytes});
  if (rows == 0) throw Error(ErrorKind::kContent, file, "holds no items, expected JSON lines");
}

const Json& RequireMember(const Json& row, const std::string& key, const Place& place) {
  const auto member = row.find(key);
  if (member == row.end()) throw Error(ErrorKind::kContent, place, fmt::format("has no key '{}'", key));
  return *member;
}

std::vector<std::string> RequireStrings(const Json& row, const std::string& key, const Place& place) {
  const Json& list = RequireMember(row, key, place);
  std::vector<std::string> strings;
  const auto fail = [&](const Json& found) {
    throw Error(ErrorKind::kContent, place.Key(key),
                fmt::format("holds {}, expected a list of strings", JsonPreview(found)));
  };
  if (!list.is_array()) fail(list);
  for (const Json& element : list) {
    if (!element.is_string()) fail(element);
    strings.push_back(element.get<std::string>());
  }
  return strings;
}

size_t RequireIndex(const Json& row, const std::string& key, size_t first, size_t count, const Place& place) {
  const Json& member = RequireMember(row, key, place);
  for (size_t i = 0; i < count; ++i) {
    if (member == Json(first + i) || member == Json(std::to_string(first + i))) return i;
  }
  throw Error(
      ErrorKind::kContent, place.Key(key),
      fmt::format("is {}, expected an integer from {} to {}", JsonPreview(member), first, first + count - 1));
}

}  // namespace lowbit
