// SPDX-License-Identifier: Apache-2.0
#include "lowbit/quant/output_folder.h"

#include <filesystem>

#include "lowbit/base/files.h"
#include "lowbit/base/human.h"
#include "lowbit/base/log.h"
#include "lowbit/base/stop.h"
#include "lowbit/checkpoint/json_fields.h"

namespace lowbit {
namespace fs = std::filesystem;

namespace {

constexpr std::string_view kVersionKey = "lowbit_plan";
constexpr uint64_t kVersion = 1;

std::string PlanText(const ArtefactInputs& inputs) {
  Json json;
  json[std::string(kVersionKey)] = kVersion;
  json["weights_hash"] = inputs.weights_hash;
  json["config_hash"] = inputs.config_hash;
  json["recipe"] = inputs.recipe;
  json["code_version"] = inputs.code_version;
  if (!inputs.calibration.empty()) json["calibration"] = inputs.calibration;
  return json.dump(1) + "\n";
}

ArtefactInputs ReadPlan(const std::string& path) {
  const Json json = ReadJsonFile(path, {.max_bytes = size_t{1} << 20, .max_depth = 2});
  JsonFields fields(json, Place(path));
  fields.Unsigned(kVersionKey, kVersion, kVersion);
  ArtefactInputs inputs{.weights_hash = fields.Sha256("weights_hash"),
                        .config_hash = fields.Sha256("config_hash"),
                        .recipe = fields.String("recipe"),
                        .code_version = fields.String("code_version"),
                        .calibration = json.contains("calibration") ? fields.String("calibration") : ""};
  fields.RefuseOthers();
  return inputs;
}

void Remove(const std::string& path) {
  std::error_code code;
  fs::remove(path, code);
  if (code) throw WriteError::Of(path, "remove", code.value());
}

bool Exists(const std::string& path) {
  std::error_code code;
  return fs::exists(fs::symlink_status(path, code));
}

// Whether `folder` holds anything that lowbit did not put there on its way.
bool HoldsOtherThings(const std::string& folder) {
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, code)) {
    const std::string name = entry.path().filename().string();
    const bool temporary = name.starts_with('.') && name.ends_with(".tmp");
    if (name != ".lock" && !temporary) return true;
  }
  return false;
}

ArtefactFile FileOf(const std::string& path, std::string content, const LayerPatch& patch) {
  ArtefactFile file{.bytes = fs::file_size(path), .content = std::move(content)};
  if (patch.output_errors) {
    file.output_errors = patch.output_errors->relative;
    file.input_ranges = patch.output_errors->inputs;
  }
  return file;
}

}  // namespace

void RequireUsableOutput(const std::string& folder, const std::string& model_folder) {
  std::error_code code;
  if (fs::equivalent(folder, model_folder, code)) {
    throw Error(ErrorKind::kConflict, Place(folder),
                "is the model's own folder, expected another one to write to");
  }
  const auto has = [&](std::string_view name) { return Exists((fs::path(folder) / name).string()); };
  if (has(kArtefactManifest) || has(kPlanFileName) || !HoldsOtherThings(folder)) return;
  throw Error(ErrorKind::kConflict, Place(folder), "is not empty and no artefact of lowbit quantize")
      .Hint("name a new folder");
}

uint64_t FreeDiskBytes(const std::string& folder) {
  fs::path there = fs::absolute(folder);
  std::error_code code;
  while (!fs::exists(there, code) && there.has_relative_path()) there = there.parent_path();
  const fs::space_info space = fs::space(there, code);
  return code ? UINT64_MAX : space.available;
}

void RequireDiskSpace(const std::string& folder, uint64_t bytes) {
  const uint64_t available = FreeDiskBytes(folder);
  if (available >= bytes) return;
  throw WriteError(folder, fmt::format("{} free on this disk, expected at least {}", HumanBytes(available),
                                       HumanBytes(bytes)));
}

OutputFolder::OutputFolder(const std::string& folder, const ArtefactInputs& inputs)
    : folder_(folder), inputs_(inputs) {
  MakeDirectory(folder_);
  lock_.emplace(folder_);
  RequireSameInputs();
  RemoveStaleTemporaries(folder_);
}

std::string OutputFolder::PathOf(std::string_view name) const {
  return (fs::path(folder_) / name).string();
}

void OutputFolder::RequireSameInputs() const {
  std::string path = PathOf(kArtefactManifest);
  ArtefactInputs before = inputs_;
  if (IsArtefact(folder_)) {
    const ArtefactInfo info = ReadArtefactInfo(folder_);
    before = {info.weights_hash, info.config_hash, info.recipe, info.code_version, info.calibration};
  } else if (Exists(PathOf(kPlanFileName))) {
    path = PathOf(kPlanFileName);
    before = ReadPlan(path);
  }
  const auto compare = [&](std::string_view key, const std::string& was, const std::string& is) {
    if (was == is) return;
    throw Error(ErrorKind::kConflict, Place(path).Key(key), fmt::format("{}, but this run has {}", was, is))
        .Hint("name a new folder, or delete this one");
  };
  compare("recipe", before.recipe, inputs_.recipe);
  compare("calibration", before.calibration, inputs_.calibration);
  compare("weights_hash", before.weights_hash, inputs_.weights_hash);
  compare("config_hash", before.config_hash, inputs_.config_hash);
  compare("code_version", before.code_version, inputs_.code_version);
}

std::optional<ArtefactInfo> OutputFolder::Finished() const {
  if (!IsArtefact(folder_)) return std::nullopt;
  ArtefactInfo info = ReadArtefactInfo(folder_);
  for (const auto& [name, file] : info.files) {
    const std::optional<LayerPatch> kept = Kept(name);
    if (!kept || ContentHash(*kept) != file.content) return std::nullopt;
    if (FileOf(PathOf(name), file.content, *kept) != file) return std::nullopt;
  }
  return info;
}

void OutputFolder::Begin() {
  WriteFileAtomic(PathOf(kPlanFileName), PlanText(inputs_));
  Remove(PathOf(kArtefactManifest));
}

bool OutputFolder::Has(const std::string& name) const {
  return Exists(PathOf(name));
}

void OutputFolder::Drop(const std::string& name) const {
  Remove(PathOf(name));
}

std::optional<LayerPatch> OutputFolder::Kept(const std::string& name) const {
  ThrowIfStopped();
  if (!Exists(PathOf(name))) return std::nullopt;
  try {
    return ReadPackedFile(PathOf(name));
  } catch (const Error& e) {
    LogWarning(fmt::format("{}; making it again", e.what()));
    return std::nullopt;
  }
}

ArtefactFile OutputFolder::Write(const std::string& name, const LayerPatch& patch) const {
  std::string content = WritePackedFile(PathOf(name), patch);
  return FileOf(PathOf(name), std::move(content), patch);
}

ArtefactFile OutputFolder::Describe(const std::string& name, const LayerPatch& patch) const {
  return FileOf(PathOf(name), ContentHash(patch), patch);
}

void OutputFolder::GiveUp() noexcept {
  std::error_code code;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder_, code)) {
    const std::string name = entry.path().filename().string();
    if (name != ".lock" && name != kPlanFileName) return;
  }
  if (!code) fs::remove_all(folder_, code);
}

void OutputFolder::Finish(const ArtefactInfo& info) {
  WriteArtefactInfo(folder_, info);
  Remove(PathOf(kPlanFileName));
}

}  // namespace lowbit
