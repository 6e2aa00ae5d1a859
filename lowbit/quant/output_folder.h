// SPDX-License-Identifier: Apache-2.0
// The folder an artefact is written into: who may write there, and what an interrupted run left that can
// stay.
//
// quantize.plan.json, written first, says what the folder's layer files are made from; it gives way to
// lowbit.json when all are there. Layer files appear whole or not at all, so whatever lies beside a plan with
// equal inputs holds the bytes that this run would write.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "lowbit/base/lock_file.h"
#include "lowbit/checkpoint/artefact.h"

namespace lowbit {

inline constexpr std::string_view kPlanFileName = "quantize.plan.json";

// All that the bytes of an artefact depend on.
struct ArtefactInputs {
  std::string weights_hash, config_hash, recipe, code_version;
  std::string calibration = {};  // empty for methods without
};

// Throws Error{kConflict} when `folder` cannot become an artefact of `model_folder` whatever the recipe: it
// is the same folder, or holds other things. Reads little: for before anything expensive.
void RequireUsableOutput(const std::string& folder, const std::string& model_folder);

// Throws WriteError unless the disk of `folder`, or of the nearest folder above that is there, has `bytes` left.
void RequireDiskSpace(const std::string& folder, uint64_t bytes);
uint64_t FreeDiskBytes(const std::string& folder);  // UINT64_MAX where the system does not say

class OutputFolder {
 public:
  // Makes the folder if need be, locks it, and removes what killed processes left. Throws Error{kConflict}
  // naming the input that differs when it holds an artefact, or the begin of one, made from other inputs.
  OutputFolder(const std::string& folder, const ArtefactInputs& inputs);

  const std::string& path() const { return folder_; }

  // What lowbit.json says, when the folder holds a finished artefact and every file has its content.
  std::optional<ArtefactInfo> Finished() const;

  // Before the first file: writes the plan, and takes back a lowbit.json whose files are not all good.
  void Begin();

  // Whether an earlier run left a file of this name, good or not.
  bool Has(const std::string& name) const;
  // A file that an earlier run finished; nullopt when there is none, or none that is good.
  std::optional<LayerPatch> Kept(const std::string& name) const;

  // Writes a file; describes one that is there and holds `patch`.
  ArtefactFile Write(const std::string& name, const LayerPatch& patch) const;
  ArtefactFile Describe(const std::string& name, const LayerPatch& patch) const;

  void Drop(const std::string& name) const;

  // After an error: when no file of the artefact was written yet, nothing of the folder stays.
  void GiveUp() noexcept;

  // After the last file: the folder is an artefact.
  void Finish(const ArtefactInfo& info);

 private:
  std::string PathOf(std::string_view name) const;
  void RequireSameInputs() const;

  std::string folder_;
  ArtefactInputs inputs_;
  std::optional<LockFile> lock_;
};

}  // namespace lowbit
