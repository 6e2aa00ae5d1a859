// SPDX-License-Identifier: Apache-2.0
// The tensors of a Hugging Face folder: model.safetensors, or shards listed by model.safetensors.index.json.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lowbit/base/mapped_file.h"
#include "lowbit/base/threads.h"
#include "lowbit/checkpoint/safetensors.h"

namespace lowbit {

class Checkpoint {
 public:
  // Opens a folder. A single model.safetensors wins over an index, as in transformers; a warning says so.
  // Shard names must be plain names inside the folder. Every mapped tensor must be in its shard.
  // Throws Error{kMissing} or Error{kContent} with file and place.
  explicit Checkpoint(const std::string& folder);

  const std::string& folder() const { return folder_; }
  const std::string& source() const {
    return source_;
  }  // the file that lists the tensors: index or single file
  bool Has(std::string_view name) const { return Find(name) != nullptr; }
  const TensorEntry* Find(std::string_view name) const;
  const SafetensorsFile& FileOf(std::string_view name) const;  // Throws Error{kContent} when absent

  // The tensor, whatever its shape. Throws Error{kContent}.
  TensorView Get(std::string_view name) const;
  // The tensor, which must be floating and of this shape; `why` tells where the expectation comes from,
  // e.g. "[intermediate_size, hidden_size] of config.json". Throws Error{kContent} naming file and tensor.
  TensorView Get(std::string_view name, const Shape& expected, std::string_view why) const;

  std::vector<std::string> Names() const;      // sorted
  std::vector<std::string> FilePaths() const;  // shards in use, sorted
  uint64_t TensorBytes() const;                // data of all tensors

  // The identity of the weights: SHA-256 over the shards in sorted order, of each its name and the SHA-256 of
  // every kHashPiece bytes of it. Pieces are hashed in parallel. Reads every byte of every shard.
  std::string WeightsHash(const Threads& threads) const;
  static constexpr size_t kHashPiece = size_t{16} << 20;

  // That a tensor is needed soon, or not for now (mapped_file.h).
  void Prefetch(std::string_view name) const { PrefetchPages(Get(name).bytes); }
  void Release(std::string_view name) const { ReleasePages(Get(name).bytes); }

  // Throws Error{kContent} naming a shard that was cut or written to since it was opened. What was computed
  // from tensors may be used only after this has returned.
  void RequireIntact() const;

  // Names of tensors that a shard holds but the index does not list: they are not part of the model.
  const std::vector<std::string>& unlisted() const { return unlisted_; }

 private:
  struct Home {
    const SafetensorsFile* file;
    const TensorEntry* entry;
  };
  const Home& HomeOf(std::string_view name) const;  // Throws Error{kContent} when absent
  void OpenSingleFile(const std::string& path);
  void OpenShards(const std::string& index_path);
  void CheckUnlisted();

  std::string folder_, source_;
  std::vector<std::unique_ptr<SafetensorsFile>> files_;  // by name
  std::unordered_map<std::string_view, Home> homes_;     // keys are the names in files_
  std::vector<std::string> unlisted_;
};

// Throws Error{kNumeric} naming the tensor, the first bad index and how many values are NaN or infinite.
// `tensor` is floating, of any alignment. One pass at the speed of memory.
void RequireFinite(const TensorView& tensor, std::string_view name, const std::string& path);
bool IsFinite(const TensorView& tensor);

}  // namespace lowbit
