// SPDX-License-Identifier: Apache-2.0
// A quantized model on disk: a base checkpoint plus patches (docs/recipes.md). Folder:
//   lowbit.json            what it is: base folder, hashes of its inputs, recipe, sizes; written last
//   layer-00000.safetensors …  packed tensors of one layer
//   head.safetensors       packed embedding and head, when the recipe asks for it
// A packed tensor NAME is stored as NAME.codes (U8 [rows, row bytes]), NAME.scales (F16 or F32 [rows,
// groups]), NAME.zeros (U8) or NAME.means, NAME.salient (U8) of planes, NAME.order (I32 [cols]) where columns are not stored in their own order
// (tensor/packed.h), and a metadata entry "packed:NAME" with its settings as JSON. The
// metadata entry "content" is a SHA-256 over all of it: a file with a flipped bit is refused.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lowbit/base/threads.h"
#include "lowbit/checkpoint/output_errors.h"
#include "lowbit/tensor/packed.h"

namespace lowbit {

inline constexpr std::string_view kArtefactManifest = "lowbit.json";
inline constexpr std::string_view kHeadFileName = "head.safetensors";
std::string LayerFileName(size_t layer);  // "layer-00007.safetensors"

using PackedTensors = std::map<std::string, PackedTensor>;  // full tensor name -> packed

// What one file holds: what takes the place of tensors of the base checkpoint.
struct LayerPatch {
  PackedTensors packed;
  std::map<std::string, std::vector<float>> vectors;  // norms and biases that scales were folded into
  std::vector<std::string> notes;                     // what was done otherwise than asked, one line each
  // Where the weights that were rounded are not those of the base: Σ (w - ŵ)² and Σ w² over them.
  std::optional<std::pair<double, double>> squared_error;
  std::optional<OutputErrors> output_errors;  // nothing where no rows were held out

  LayerPatch() = default;
  LayerPatch(PackedTensors tensors) : packed(std::move(tensors)) {}
  bool Empty() const { return packed.empty() && vectors.empty(); }
};

// Writes one file of packed tensors atomically. Bytes depend on the content only. Returns its content hash.
std::string WritePackedFile(const std::string& path, const LayerPatch& patch);

// Reads it back, checked: what does not fit together is an Error{kContent} naming the file and the tensor,
// and so is a content hash that differs from the file's own, or from `content` when that is given.
LayerPatch ReadPackedFile(const std::string& path, std::string_view content = {});
LayerPatch ParsePackedFile(std::span<const std::byte> file, const std::string& path,
                           std::string_view content = {});

// Of each packed tensor of a file what its header says: data are not looked at. Throws Error{kContent} where it
// cannot be read.
std::map<std::string, PackedSettings> ReadPackedSettings(const std::string& path);

// SHA-256 over names, settings and data: what "content" says.
std::string ContentHash(const LayerPatch& patch);

struct ArtefactFile {
  uint64_t bytes = 0;
  std::string content;                               // hash
  std::map<std::string, double> output_errors = {};  // OutputErrors::relative of a layer; empty: not measured
  InputRanges input_ranges = {};                     // OutputErrors::inputs

  bool operator==(const ArtefactFile&) const = default;
};

// What lowbit.json says.
struct ArtefactInfo {
  std::string base_folder;   // as this process can open it; stored relative to the artefact where that works
  uint64_t base_bytes = 0;   // of the base: Checkpoint::TensorBytes()
  std::string weights_hash;  // of the base: Checkpoint::WeightsHash()
  std::string config_hash;   // SHA-256 of its config.json
  std::string recipe;        // canonical text
  std::string calibration;   // CalibrationSet::Key() and the compute type; empty for methods without
  std::string held_out;      // OutputErrors::rows; empty: output errors were not measured
  std::string code_version;
  size_t layers = 0;
  bool has_head = false;
  uint64_t quantized_weights = 0, quantized_bits = 0;  // sums over the packed tensors
  // Of their codes alone, as papers count: where matrices are of planes, else 0.
  uint64_t code_bits = 0;
  uint64_t model_weights = 0, model_bits = 0;  // whole model: packed, plus kept tensors in their own type
  double relative_error = 0;       // ‖W - Ŵ‖ / ‖W‖ over the quantized weights, Frobenius norms
  double seconds = 0;              // spent quantizing
  std::vector<std::string> notes;  // of all files
  std::map<std::string, ArtefactFile> files;  // every layer file, and the head's

  double BitsPerQuantizedWeight() const;
  double CodeBitsPerWeight() const;  // 0 where code_bits is
  double BitsPerModelWeight() const;
  uint64_t FileBytes() const;  // sum over files
  bool operator==(const ArtefactInfo&) const = default;
};

bool IsArtefact(const std::string& folder);  // has a lowbit.json

// Reads and checks lowbit.json alone. Throws Error{kMissing} or Error{kContent} naming the key.
ArtefactInfo ReadArtefactInfo(const std::string& folder);
ArtefactInfo ParseArtefactInfo(std::string_view text, const std::string& folder);

// What lowbit.json says, and writing it, after every layer file is in place: only then is the folder an
// artefact.
std::string ArtefactText(const std::string& folder, const ArtefactInfo& info);
void WriteArtefactInfo(const std::string& folder, const ArtefactInfo& info);

class Artefact {
 public:
  // Opens a finished artefact. Throws Error{kContent}/{kMissing} for what does not fit together, and
  // Error{kConflict} when the base checkpoint is not the one it was made from (by size and config hash;
  // VerifyBase compares the hash of all weights).
  explicit Artefact(const std::string& folder);

  const ArtefactInfo& info() const { return info_; }
  const std::string& folder() const { return folder_; }
  LayerPatch Layer(size_t layer) const;  // reads the file; throws Error{kContent}
  PackedTensors Head() const;            // empty when has_head is false

  // Throws Error{kConflict} unless the base's weights have the hash they had. Reads all of them.
  void VerifyBase(const Threads& threads) const;

 private:
  void CheckFiles() const;
  void CheckBase() const;
  LayerPatch ReadFileNamed(const std::string& name) const;

  std::string folder_;
  ArtefactInfo info_;
};

}  // namespace lowbit
