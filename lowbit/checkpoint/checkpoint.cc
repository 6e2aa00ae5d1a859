// SPDX-License-Identifier: Apache-2.0
#include "lowbit/checkpoint/checkpoint.h"

#include <algorithm>
#include <filesystem>
#include <map>

#include "lowbit/base/hash.h"
#include "lowbit/base/log.h"
#include "lowbit/checkpoint/shard_index.h"

namespace lowbit {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";

// A link that leads nowhere is there: opening it shall fail, rather than another file be taken.
bool IsThere(const std::string& path) {
  std::error_code code;
  return fs::symlink_status(path, code).type() != fs::file_type::not_found;
}

[[noreturn]] void FailWithoutWeights(const std::string& folder) {
  Error error(ErrorKind::kMissing, Place(folder),
              fmt::format("no {} and no {}, expected a checkpoint", kSingleFile, kIndexFile));
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, code)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".bin" || extension == ".pth" || extension == ".gguf" || extension == ".safetensors") {
      error.Hint(fmt::format("lowbit does not read {}", Printable(entry.path().filename().string())));
    }
  }
  throw error;
}

bool SameContent(const SafetensorsFile& a, const TensorEntry& x, const SafetensorsFile& b,
                 const TensorEntry& y) {
  const auto data = [](const SafetensorsFile& file, const TensorEntry& entry) {
    return file.bytes().subspan(file.header().data_start + entry.begin, entry.end - entry.begin);
  };
  return x.type_name == y.type_name && x.shape == y.shape && std::ranges::equal(data(a, x), data(b, y));
}

void WarnOfWrongTotal(const std::string& index_path, const std::string& total_size, uint64_t stored) {
  if (total_size.empty() || std::strtod(total_size.c_str(), nullptr) == static_cast<double>(stored)) return;
  LogWarning(fmt::format("{}: key 'metadata': total_size {}, but the listed tensors have {} bytes",
                         index_path, total_size, stored));
}

void WarnOfUnlisted(const std::string& index_path, const std::vector<std::string>& names) {
  if (names.empty()) return;
  LogWarning(fmt::format("{}: {} tensors of the shards are not listed and not used, the first is '{}'",
                         index_path, names.size(), names.front()));
}

}  // namespace

Checkpoint::Checkpoint(const std::string& folder) : folder_(folder) {
  RequireDirectory(folder, "a checkpoint");
  const std::string single = (fs::path(folder) / kSingleFile).string();
  const std::string index = (fs::path(folder) / kIndexFile).string();
  if (IsThere(single)) {
    if (IsThere(index)) LogWarning(fmt::format("{}: not used, because {} is there too", index, kSingleFile));
    OpenSingleFile(single);
  } else if (IsThere(index)) {
    OpenShards(index);
  } else {
    FailWithoutWeights(folder);
  }
}

void Checkpoint::OpenSingleFile(const std::string& path) {
  source_ = path;
  const SafetensorsFile& file = *files_.emplace_back(std::make_unique<SafetensorsFile>(path));
  homes_.reserve(file.header().tensors.size());
  for (const TensorEntry& entry : file.header().tensors) homes_.emplace(entry.name, Home{&file, &entry});
}

void Checkpoint::OpenShards(const std::string& index_path) {
  source_ = index_path;
  const ShardIndex index = ReadShardIndex(index_path);
  std::map<std::string, const SafetensorsFile*> shards;
  for (const auto& [tensor, name] : index.weight_map) {
    if (!shards.emplace(name, nullptr).second) continue;
    RequireShardInside(folder_, name, index_path, tensor);
  }
  for (auto& [name, file] : shards) {
    files_.push_back(std::make_unique<SafetensorsFile>((fs::path(folder_) / name).string()));
    file = files_.back().get();
  }

  homes_.reserve(index.weight_map.size());
  for (const auto& [tensor, name] : index.weight_map) {
    const SafetensorsFile& file = *shards.at(name);
    if (const TensorEntry* entry = file.Find(tensor)) {
      homes_.emplace(entry->name, Home{&file, entry});
      continue;
    }
    const auto holder = std::ranges::find_if(
        files_, [&wanted = tensor](const auto& f) { return f->Find(wanted) != nullptr; });
    const std::string found = holder == files_.end() ? "no shard has it" : (*holder)->path() + " has it";
    throw Error(ErrorKind::kContent, Place(index_path).Tensor(Printable(tensor)),
                fmt::format("mapped to \"{}\", which does not hold it; {}", name, found));
  }
  CheckUnlisted();
  WarnOfWrongTotal(index_path, index.total_size, TensorBytes());
}

// Tensors that a shard holds although the index does not map them there: another copy of a tensor must be
// equal.
void Checkpoint::CheckUnlisted() {
  for (const auto& file : files_) {
    for (const TensorEntry& entry : file->header().tensors) {
      const auto home = homes_.find(entry.name);
      if (home == homes_.end()) {
        unlisted_.push_back(entry.name);
      } else if (home->second.entry != &entry &&
                 !SameContent(*file, entry, *home->second.file, *home->second.entry)) {
        RequireIntact();
        throw Error(ErrorKind::kContent, Place(source_).Tensor(Printable(entry.name)),
                    fmt::format("{} and {} hold it with other values, expected one tensor of this name",
                                home->second.file->path(), file->path()));
      }
    }
  }
  std::ranges::sort(unlisted_);
  WarnOfUnlisted(source_, unlisted_);
}

const TensorEntry* Checkpoint::Find(std::string_view name) const {
  const auto it = homes_.find(name);
  return it == homes_.end() ? nullptr : it->second.entry;
}

const Checkpoint::Home& Checkpoint::HomeOf(std::string_view name) const {
  const auto it = homes_.find(name);
  if (it != homes_.end()) return it->second;
  Error error(ErrorKind::kContent, Place(source_).Tensor(Printable(name)),
              "missing, expected it in the checkpoint");
  if (std::ranges::binary_search(unlisted_, name))
    error.Hint("a shard holds it, but the index does not list it");
  throw error;
}

const SafetensorsFile& Checkpoint::FileOf(std::string_view name) const {
  return *HomeOf(name).file;
}

TensorView Checkpoint::Get(std::string_view name) const {
  const Home& home = HomeOf(name);
  return home.file->View(*home.entry);
}

TensorView Checkpoint::Get(std::string_view name, const Shape& expected, std::string_view why) const {
  const Home& home = HomeOf(name);
  const Place place = Place(home.file->path()).Tensor(Printable(name));
  TensorView view = home.file->View(*home.entry);
  if (!IsFloating(view.type)) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("dtype {}, expected BF16, F16 or F32", Name(view.type)))
        .Hint("weights that another tool quantized cannot be used; take the original checkpoint");
  }
  if (view.shape != expected) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("shape {}, expected {} ({})", ShapeText(view.shape), ShapeText(expected), why))
        .Hint("weights and config.json come from different models");
  }
  return view;
}

std::vector<std::string> Checkpoint::Names() const {
  std::vector<std::string> names;
  names.reserve(homes_.size());
  for (const auto& [name, home] : homes_) names.emplace_back(name);
  std::ranges::sort(names);
  return names;
}

std::vector<std::string> Checkpoint::FilePaths() const {
  std::vector<std::string> paths;
  for (const auto& file : files_) paths.push_back(file->path());
  return paths;
}

uint64_t Checkpoint::TensorBytes() const {
  uint64_t bytes = 0;
  for (const auto& [name, home] : homes_) bytes += home.entry->end - home.entry->begin;
  return bytes;
}

std::string Checkpoint::WeightsHash(const Threads& threads) const {
  struct Piece {
    std::span<const std::byte> bytes;
    std::string hex;
  };
  std::vector<std::vector<Piece>> pieces(files_.size());
  std::vector<Piece*> all;
  for (size_t f = 0; f < files_.size(); ++f) {
    const std::span<const std::byte> bytes = files_[f]->bytes();
    for (size_t at = 0; at < bytes.size(); at += kHashPiece) {
      pieces[f].push_back({bytes.subspan(at, std::min(kHashPiece, bytes.size() - at)), ""});
    }
    for (Piece& piece : pieces[f]) all.push_back(&piece);
  }
  threads.For(all.size(), [&](size_t i) {
    Sha256 one;
    one.Update(all[i]->bytes);
    all[i]->hex = one.Hex();
    ReleasePages(all[i]->bytes);
  });
  Sha256 hash;
  for (size_t f = 0; f < files_.size(); ++f) {
    hash.Update(fs::path(files_[f]->path()).filename().string() + "\n");
    for (const Piece& piece : pieces[f]) hash.Update(piece.hex + "\n");
  }
  RequireIntact();
  return hash.Hex();
}

void Checkpoint::RequireIntact() const {
  for (const auto& file : files_) file->RequireIntact();
}

}  // namespace lowbit
