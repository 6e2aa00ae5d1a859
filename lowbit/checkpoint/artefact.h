// SPDX-License-Identifier: Apache-2.0
// A quantized model on disk: a base checkpoint plus patches. Folder:
//   lowbit.json            what it is: base folder, hashes of its inputs, recipe, sizes; written last
//   layer-00000.safetensors …  packed tensors of one layer
//   head.safetensors       packed embedding and head, when the recipe asks for it
// A packed tensor NAME is stored as NAME.codes (U8 [rows, row bytes]), NAME.scales (F16 or F32 [rows, groups]),
// NAME.zeros (U8) or NAME.means, and a metadata entry "packed:NAME" with its settings as JSON.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lowbit/base/json.h"
#include "lowbit/checkpoint/safetensors.h"
#include "lowbit/tensor/packed.h"

namespace lowbit {

inline constexpr std::string_view kArtefactManifest = "lowbit.json";

// What lowbit.json says.
struct ArtefactInfo {
  std::string base_folder;      // stored relative to the artefact where that works, else absolute
  std::string weights_hash;     // of the base: Checkpoint::WeightsHash()
  std::string config_hash;      // SHA-256 of its config.json
  std::string recipe;           // canonical text
  std::string code_version;
  size_t layers = 0;
  bool has_head = false;
  uint64_t quantized_weights = 0, quantized_bits = 0;  // sums over the packed tensors
  uint64_t model_weights = 0, model_bits = 0;          // whole model: packed, plus kept tensors in their own type
  double seconds = 0;           // spent quantizing

  double BitsPerQuantizedWeight() const;
  double BitsPerModelWeight() const;
};

bool IsArtefact(const std::string& folder);  // has a lowbit.json

using PackedTensors = std::map<std::string, PackedTensor>;  // full tensor name -> packed

// Writes one file of packed tensors atomically; reads it back, checked. Bytes depend on the content only.
void WritePackedFile(const std::string& path, const PackedTensors& tensors);
PackedTensors ReadPackedFile(const std::string& path);

std::string LayerFileName(size_t layer);  // "layer-00007.safetensors"

class Artefact {
 public:
  // Opens a finished artefact. Throws Error{kContent}/{kMissing} for what does not fit together, and
  // Error{kConflict} when the base checkpoint is not the one it was made from (by size and config hash;
  // VerifyBase() compares the hash of all weights).
  explicit Artefact(const std::string& folder);

  const ArtefactInfo& info() const { return info_; }
  const std::string& folder() const { return folder_; }
  PackedTensors Layer(size_t layer) const;  // reads the file; throws Error{kContent}
  PackedTensors Head() const;               // empty when has_head is false

 private:
  std::string folder_;
  ArtefactInfo info_;
};

// Writes lowbit.json, after every layer file is in place: only then is the folder an artefact.
void WriteArtefactInfo(const std::string& folder, const ArtefactInfo& info);

}  // namespace lowbit
