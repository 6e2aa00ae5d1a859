// SPDX-License-Identifier: Apache-2.0
#include "lowbit/checkpoint/shard_index.h"

#include <filesystem>
#include <utility>

#include "lowbit/base/files.h"
#include "lowbit/base/json_reader.h"

namespace lowbit {
namespace fs = std::filesystem;

namespace {

constexpr size_t kMaxIndexBytes = size_t{32} << 20;  // 18,900 tensors need 2 MB
constexpr size_t kMaxKeptBytes = size_t{24} << 20;   // of names; what is above is no index of a model
constexpr size_t kBytesPerTensor = 160;              // a map node with two strings
constexpr std::string_view kMapKey = "weight_map";

[[noreturn]] void Refuse(const Place& place, std::string message) {
  throw Error(ErrorKind::kContent, place, std::move(message));
}

// A name that cannot lead anywhere but to a file beside the index, on any system.
bool IsPlainFileName(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > 255) return false;
  for (const char c : name) {
    if (c == '/' || c == '\\' || c == ':' || static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return false;
  }
  return true;
}

void ParseMap(JsonReader& reader, const Place& place, ShardIndex& index) {
  if (reader.Peek() != JsonReader::Type::kObject) {
    Refuse(place, fmt::format("{}, expected an object of tensor names and file names", reader.Preview()));
  }
  size_t kept = 0;
  std::string tensor;
  reader.BeginObject();
  while (reader.NextKey(tensor)) {
    const auto place_of_tensor = [&] { return place.Tensor(Printable(tensor)); };
    if (reader.Peek() != JsonReader::Type::kString) {
      Refuse(place_of_tensor(), fmt::format("{}, expected a file name", reader.Preview()));
    }
    std::string file = reader.String();
    if (!IsPlainFileName(file)) {
      Refuse(place_of_tensor(),
             fmt::format("file name \"{}\", expected the plain name of a file beside the index",
                         Printable(file)));
    }
    kept += kBytesPerTensor + tensor.size() + file.size();
    if (kept > kMaxKeptBytes) {
      Refuse(place.Byte(reader.Position()), fmt::format("more than {} MiB of names", kMaxKeptBytes >> 20));
    }
    const auto [entry, is_new] = index.weight_map.emplace(tensor, std::move(file));
    if (!is_new) Refuse(place_of_tensor(), "is there twice, expected one file per tensor");
  }
  if (index.weight_map.empty()) Refuse(place, "an empty object, expected the model's tensors");
}

void ParseMetadata(JsonReader& reader, ShardIndex& index) {
  if (reader.Peek() != JsonReader::Type::kObject) return reader.Skip();
  std::string key;
  reader.BeginObject();
  while (reader.NextKey(key)) {
    if (key == "total_size" && reader.Peek() == JsonReader::Type::kNumber) {
      index.total_size = reader.Number();
    } else {
      reader.Skip();
    }
  }
}

}  // namespace

ShardIndex ReadShardIndex(const std::string& path) {
  return ParseShardIndex(ReadFile(path, kMaxIndexBytes), path);
}

ShardIndex ParseShardIndex(std::string_view text, const std::string& path) {
  const Place place(path), map_place = place.Key(kMapKey);
  JsonReader reader(text, place);
  ShardIndex index;
  bool has_map = false;
  if (reader.Peek() != JsonReader::Type::kObject) {
    Refuse(place, fmt::format("{}, expected an object with key '{}'", reader.Preview(), kMapKey));
  }
  std::string key;
  reader.BeginObject();
  while (reader.NextKey(key)) {
    if (key == kMapKey) {
      if (std::exchange(has_map, true)) Refuse(map_place, "is there twice");
      ParseMap(reader, map_place, index);
    } else if (key == "metadata") {
      ParseMetadata(reader, index);
    } else {
      reader.Skip();
    }
  }
  reader.End();
  if (!has_map) Refuse(map_place, "missing, expected an object of tensor names and file names");
  return index;
}

void RequireShardInside(const std::string& folder, const std::string& name, const std::string& index_path,
                        const std::string& tensor) {
  const fs::path path = fs::path(folder) / name;
  std::error_code code;
  if (fs::symlink_status(path, code).type() == fs::file_type::not_found) {
    throw Error(ErrorKind::kMissing, Place(path.string()),
                fmt::format("no such file, but {} maps tensor '{}' to it",
                            fs::path(index_path).filename().string(), Printable(tensor)))
        .Hint("the download is not complete");
  }
  if (!fs::is_symlink(path, code)) return;
  const fs::path target = fs::canonical(path, code);
  if (code) return;  // a dangling link or a loop: opening it says so
  const fs::path home = fs::canonical(folder, code);
  const fs::path above = home.parent_path();
  const bool inside = target.parent_path() == home;
  const bool in_hub_cache =
      above.filename() == "snapshots" && target.parent_path() == above.parent_path() / "blobs";
  if (inside || in_hub_cache) return;
  throw Error(
      ErrorKind::kContent, Place(index_path).Tensor(Printable(tensor)),
      fmt::format("file \"{}\" is a link to {}, expected a file inside the folder", name, target.string()))
      .Hint("put the file itself into the folder");
}

}  // namespace lowbit
