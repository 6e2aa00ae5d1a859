// SPDX-License-Identifier: Apache-2.0
#include "lowbit/checkpoint/artefact.h"

#include <filesystem>

#include "lowbit/base/files.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/utf8.h"
#include "lowbit/checkpoint/checkpoint.h"
#include "lowbit/checkpoint/json_fields.h"

namespace lowbit {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kVersionKey = "lowbit_artefact";
constexpr uint64_t kVersion = 1;
constexpr JsonLimits kManifestLimits = {.max_bytes = size_t{4} << 20, .max_depth = 5};

std::string PathIn(const std::string& folder, std::string_view name) {
  return (fs::path(folder) / name).string();
}

double PerWeight(uint64_t bits, uint64_t weights) {
  return weights == 0 ? 0 : static_cast<double>(bits) / static_cast<double>(weights);
}

// The first folder of an absolute path below its root.
fs::path TopFolder(const fs::path& path) {
  return path.empty() || path.relative_path().empty() ? "" : *path.relative_path().begin();
}

// How lowbit.json names the base: relative to the artefact, so that both can be moved together, unless they
// share no folder but the root.
std::string StoredBase(const std::string& folder, const std::string& base) {
  const fs::path from = fs::weakly_canonical(folder), to = fs::weakly_canonical(base);
  const fs::path stored = TopFolder(from) == TopFolder(to) ? to.lexically_relative(from) : to;
  if (FirstInvalidUtf8(stored.string()) != std::string::npos) {
    throw Error(ErrorKind::kUsage, Place(base),
                "the path is not valid UTF-8, expected one that JSON can hold");
  }
  return stored.string();
}

// The inverse: a path that this process can open.
std::string ResolvedBase(const std::string& folder, const std::string& stored) {
  return (fs::weakly_canonical(folder) / stored).lexically_normal().string();
}

std::map<std::string, ArtefactFile> ReadFiles(const Json& object, const Place& place, size_t layers,
                                              bool has_head) {
  const auto expected = layers + (has_head ? 1 : 0);
  if (object.size() != expected) {
    throw Error(ErrorKind::kContent, place,
                fmt::format("{} files, expected {}: one per layer{}", object.size(), expected,
                            has_head ? " and the head" : ""));
  }
  std::map<std::string, ArtefactFile> files;
  JsonFields all(object, place);
  const auto read = [&](const std::string& name) {
    JsonFields fields(all.Object(name), place.Key(name));
    ArtefactFile& file =
        files[name] = {.bytes = fields.Unsigned("bytes", 1), .content = fields.Sha256("content")};
    if (object[name].contains("output_errors")) file.output_errors = fields.NonNegatives("output_errors");
    if (object[name].contains("input_ranges")) file.input_ranges = ReadInputRanges(fields, "input_ranges");
    fields.RefuseOthers();
  };
  for (size_t layer = 0; layer < layers; ++layer) read(LayerFileName(layer));
  if (has_head) read(std::string(kHeadFileName));
  return files;
}

}  // namespace

std::string LayerFileName(size_t layer) {
  return fmt::format("layer-{:05}.safetensors", layer);
}

double ArtefactInfo::BitsPerQuantizedWeight() const {
  return PerWeight(quantized_bits, quantized_weights);
}
double ArtefactInfo::CodeBitsPerWeight() const {
  return PerWeight(code_bits, quantized_weights);
}
double ArtefactInfo::BitsPerModelWeight() const {
  return PerWeight(model_bits, model_weights);
}

uint64_t ArtefactInfo::FileBytes() const {
  uint64_t bytes = 0;
  for (const auto& [name, file] : files) bytes += file.bytes;
  return bytes;
}

bool IsArtefact(const std::string& folder) {
  std::error_code code;
  // A link that leads nowhere is there: opening it shall fail, rather than the folder be taken for a model.
  return fs::symlink_status(PathIn(folder, kArtefactManifest), code).type() != fs::file_type::not_found;
}

ArtefactInfo ReadArtefactInfo(const std::string& folder) {
  return ParseArtefactInfo(ReadFile(PathIn(folder, kArtefactManifest), kManifestLimits.max_bytes), folder);
}

ArtefactInfo ParseArtefactInfo(std::string_view text, const std::string& folder) {
  const std::string path = PathIn(folder, kArtefactManifest);
  const Json json = ParseJson(text, Place(path), kManifestLimits);
  JsonFields fields(json, Place(path));
  fields.Unsigned(kVersionKey, kVersion, kVersion);
  ArtefactInfo info;
  const std::string base = fields.String("base");
  if (base.find('\0') != base.npos) {
    throw Error(ErrorKind::kContent, fields.At("base"), "a path with a NUL byte, expected the base's folder");
  }
  info.base_folder = ResolvedBase(folder, base);
  info.base_bytes = fields.Unsigned("base_bytes");
  info.weights_hash = fields.Sha256("weights_hash");
  info.config_hash = fields.Sha256("config_hash");
  info.recipe = fields.String("recipe");
  info.code_version = fields.String("code_version");
  info.layers = fields.Unsigned("layers", 1);
  info.has_head = fields.Boolean("has_head");
  info.quantized_weights = fields.Unsigned("quantized_weights", 1);
  info.quantized_bits = fields.Unsigned("quantized_bits", 1);
  info.model_weights = fields.Unsigned("model_weights", info.quantized_weights);
  info.model_bits = fields.Unsigned("model_bits", info.quantized_bits);
  info.relative_error = fields.NonNegative("relative_error");
  info.seconds = fields.NonNegative("seconds");
  if (json.contains("code_bits")) {
    info.code_bits = fields.Unsigned("code_bits", info.quantized_weights, info.quantized_bits);
  }
  if (json.contains("calibration")) info.calibration = fields.String("calibration");
  if (json.contains("held_out")) info.held_out = fields.String("held_out");
  if (json.contains("notes")) info.notes = fields.Strings("notes");
  info.files = ReadFiles(fields.Object("files"), fields.At("files"), info.layers, info.has_head);
  fields.RefuseOthers();
  return info;
}

std::string ArtefactText(const std::string& folder, const ArtefactInfo& info) {
  Json json;
  json[std::string(kVersionKey)] = kVersion;
  json["base"] = StoredBase(folder, info.base_folder);
  json["base_bytes"] = info.base_bytes;
  json["weights_hash"] = info.weights_hash;
  json["config_hash"] = info.config_hash;
  json["recipe"] = info.recipe;
  json["code_version"] = info.code_version;
  json["layers"] = info.layers;
  json["has_head"] = info.has_head;
  json["quantized_weights"] = info.quantized_weights;
  json["quantized_bits"] = info.quantized_bits;
  json["model_weights"] = info.model_weights;
  json["model_bits"] = info.model_bits;
  json["relative_error"] = info.relative_error;
  json["seconds"] = info.seconds;
  if (info.code_bits > 0) json["code_bits"] = info.code_bits;
  if (!info.calibration.empty()) json["calibration"] = info.calibration;
  if (!info.held_out.empty()) json["held_out"] = info.held_out;
  if (!info.notes.empty()) json["notes"] = info.notes;
  for (const auto& [name, file] : info.files) {
    Json& entry = json["files"][name] = {{"bytes", file.bytes}, {"content", file.content}};
    if (!file.output_errors.empty()) entry["output_errors"] = file.output_errors;
    if (!file.input_ranges.empty()) entry["input_ranges"] = ToJson(file.input_ranges);
  }
  return json.dump(1) + "\n";
}

void WriteArtefactInfo(const std::string& folder, const ArtefactInfo& info) {
  WriteFileAtomic(PathIn(folder, kArtefactManifest), ArtefactText(folder, info));
}

Artefact::Artefact(const std::string& folder) : folder_(folder) {
  RequireDirectory(folder, "an artefact of lowbit quantize");
  info_ = ReadArtefactInfo(folder);
  CheckFiles();
  CheckBase();
}

void Artefact::CheckFiles() const {
  for (const auto& [name, file] : info_.files) {
    const std::string path = PathIn(folder_, name);
    std::error_code code;
    if (const fs::file_status status = fs::status(path, code);
        fs::exists(status) && !fs::is_regular_file(status)) {
      throw Error(ErrorKind::kMissing, Place(path),
                  fs::is_directory(status) ? "is a folder, expected a file" : "not a regular file");
    }
    const uint64_t bytes = fs::file_size(path, code);
    if (code)
      throw Error(ErrorKind::kMissing, Place(path),
                  fmt::format("{}, but {} lists it", code.message(), kArtefactManifest));
    if (bytes != file.bytes) {
      throw Error(ErrorKind::kContent, Place(path),
                  fmt::format("{} bytes, expected {} as {} says", bytes, file.bytes, kArtefactManifest));
    }
  }
}

void Artefact::CheckBase() const {
  const Place manifest = Place(PathIn(folder_, kArtefactManifest));
  std::error_code code;
  if (!fs::is_directory(info_.base_folder, code)) {
    throw Error(ErrorKind::kMissing, manifest.Key("base"),
                fmt::format("no folder {}, expected the checkpoint this was made from", info_.base_folder))
        .Hint("move it back, or write its new place into this key");
  }
  const auto check = [&](std::string_view key, const auto& was, const auto& is) {
    if (was == is) return;
    throw Error(ErrorKind::kConflict, manifest.Key(key),
                fmt::format("{}, but the base {} has {}", was, info_.base_folder, is))
        .Hint("the artefact was made from another checkpoint; quantize this one anew");
  };
  check("config_hash", info_.config_hash, Sha256OfFile(PathIn(info_.base_folder, "config.json")));
  check("base_bytes", info_.base_bytes, Checkpoint(info_.base_folder).TensorBytes());
}

void Artefact::VerifyBase(const Threads& threads) const {
  const std::string hash = Checkpoint(info_.base_folder).WeightsHash(threads);
  if (hash == info_.weights_hash) return;
  throw Error(ErrorKind::kConflict, Place(PathIn(folder_, kArtefactManifest)).Key("weights_hash"),
              fmt::format("{}, but the base {} has {}", info_.weights_hash, info_.base_folder, hash))
      .Hint("the artefact was made from another checkpoint; quantize this one anew");
}

LayerPatch Artefact::ReadFileNamed(const std::string& name) const {
  return ReadPackedFile(PathIn(folder_, name), info_.files.at(name).content);
}

LayerPatch Artefact::Layer(size_t layer) const {
  LOWBIT_ASSERT(layer < info_.layers);
  return ReadFileNamed(LayerFileName(layer));
}

PackedTensors Artefact::Head() const {
  return info_.has_head ? std::move(ReadFileNamed(std::string(kHeadFileName)).packed) : PackedTensors{};
}

}  // namespace lowbit
