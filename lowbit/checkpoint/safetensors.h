// SPDX-License-Identifier: Apache-2.0
// Room checkpoint: bytes on disk <-> named tensors.
// In:  a Hugging Face folder or a file.   Out: views of mapped tensors, checked before use; atomic writing.
// Non-goals: what a tensor means (model), how it is rounded (quant).
// Start reading here (one file), then checkpoint.h (a folder of shards) and artefact.h (base + patches).
#pragma once

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "lowbit/base/files.h"
#include "lowbit/base/mapped_file.h"
#include "lowbit/tensor/view.h"

namespace lowbit {

// One tensor as a header lists it. Types that lowbit does not read keep their name and have no `type`:
// they are refused when they are asked for, not before.
struct TensorEntry {
  std::string name;
  std::string type_name;  // as written: "BF16", "F8_E4M3"
  std::optional<DType> type;
  Shape shape;
  uint64_t begin = 0, end = 0;  // bytes from the start of the data part

  bool operator==(const TensorEntry&) const = default;
};

struct SafetensorsHeader {
  std::vector<TensorEntry> tensors;  // in the order of their data
  std::map<std::string, std::string> metadata;
  uint64_t data_start = 0;  // offset of the data part in the file
};

// Checks everything the format promises (docs/formats.md): lengths with checked arithmetic, strict JSON,
// no duplicate names, offsets that cover the data exactly without holes or overlap.
// Throws Error{kContent} naming `path` and the tensor or byte. `file` is the whole file.
// Whatever the file claims, this needs less than 64 MiB: a header that lists more is refused.
SafetensorsHeader ParseSafetensorsHeader(std::span<const std::byte> file, const std::string& path);

// A mapped safetensors file. Views stay valid as long as the object lives.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::string& path);
  // A file that is in memory already; `bytes` must outlive this, `path` is for messages.
  SafetensorsFile(std::span<const std::byte> bytes, std::string path);

  const std::string& path() const { return path_; }
  const SafetensorsHeader& header() const { return header_; }
  std::span<const std::byte> bytes() const { return bytes_; }  // the whole file
  const TensorEntry* Find(std::string_view name) const;        // nullptr when absent

  // Throws Error{kContent} when the file was cut or written to since it was opened: before that is known,
  // nothing computed from its bytes may be used (base/mapped_file.h).
  void RequireIntact() const;

  // Throws Error{kContent}: no such tensor, or of a type that lowbit does not read.
  TensorView Get(std::string_view name) const;
  TensorView View(const TensorEntry& entry) const;  // of this file's header

 private:
  void IndexNames();
  std::string path_;
  std::optional<MappedFile> file_;
  std::span<const std::byte> bytes_;
  SafetensorsHeader header_;
  std::unordered_map<std::string_view, size_t> index_;
};

// Writes a safetensors file: header first, then tensors in the order they were declared.
//   SafetensorsWriter w(path);  w.Declare("x", DType::kF32, {2, 3});  w.Begin();  w.Write(bytes); w.Commit();
// Or, for small files, WriteSafetensors. The file appears under its name only when Commit() returns.
class SafetensorsWriter {
 public:
  explicit SafetensorsWriter(std::string path);
  void Declare(std::string name, DType type, Shape shape);
  void SetMetadata(std::string key, std::string value);
  void Begin();                                  // writes the header; nothing can be declared afterwards
  void Write(std::span<const std::byte> bytes);  // the next bytes of the data part
  void Commit();                                 // throws Error{kInternal} unless exactly all data came

 private:
  std::string path_;
  AtomicFile file_;
  SafetensorsHeader header_;
  uint64_t declared_ = 0, written_ = 0;
};

struct NamedTensor {
  std::string name;
  TensorView tensor;
};
void WriteSafetensors(const std::string& path, std::span<const NamedTensor> tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace lowbit
