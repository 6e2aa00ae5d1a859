// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/quantized_models.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "lowbit/base/files.h"
#include "lowbit/quant/output_folder.h"

namespace lowbit {
namespace fs = std::filesystem;
namespace {

// What the full-precision model takes: every tensor in the type it is stored in.
CellStorage StorageOfFull(const CheckpointSource& source) {
  const auto bits_of = [&](const std::string& name) {
    return 8 * static_cast<uint64_t>(source.checkpoint().Get(name).bytes.size());
  };
  uint64_t linear_bits = 0, linear_weights = 0, bits = 0, weights = 0;
  for (const ExpectedTensor& tensor : ExpectedTensors(source.config())) {
    bits += bits_of(tensor.name);
    weights += ElementCount(tensor.shape);
  }
  for (size_t l = 0; l < source.layout().layers.size(); ++l) {
    for (const LinearSpec& linear : source.layout().layers[l].linears) {
      linear_bits += bits_of(ModelLayout::LayerPrefix(l) + linear.name + ".weight");
      linear_weights += linear.out * linear.in;
    }
  }
  return {static_cast<double>(linear_bits) / static_cast<double>(linear_weights),
          static_cast<double>(bits) / static_cast<double>(weights), bits / 8};
}

CellStorage StorageOf(const ArtefactInfo& info) {
  return {info.BitsPerQuantizedWeight(), info.BitsPerModelWeight(), info.model_bits / 8};
}

std::vector<LayerError> LayerErrorsOf(const ArtefactInfo& info) {
  std::vector<LayerError> errors;
  for (size_t l = 0; l < info.layers; ++l) {
    for (const auto& [part, relative] : info.files.at(LayerFileName(l)).output_errors)
      errors.push_back({static_cast<uint32_t>(l), part, relative});
  }
  return errors;
}

std::vector<LinearInputs> InputsOf(const ArtefactInfo& info) {
  std::vector<LinearInputs> inputs;
  for (size_t l = 0; l < info.layers; ++l) {
    for (const auto& [linear, range] : info.files.at(LayerFileName(l)).input_ranges)
      inputs.push_back({static_cast<uint32_t>(l), linear, range.largest, range.peak});
  }
  return inputs;
}

}  // namespace

std::string ScratchFolder(const std::string& folder) {
  return (fs::path(folder) / ".lowbit-scratch").string();
}

QuantizedModels::QuantizedModels(const StudyPlan& plan, const PlannedSweeps& sweeps,
                                 const std::string& folder, const Backend& backend)
    : plan_(plan),
      sweeps_(sweeps),
      model_(plan.models[sweeps.model]),
      folder_(folder),
      backend_(backend),
      made_(plan.study.recipes.size()) {}

std::string QuantizedModels::FolderOf(size_t recipe) const {
  const fs::path parent =
      plan_.study.keep_artefacts ? fs::path(folder_) / "artefacts" : fs::path(ScratchFolder(folder_));
  return (parent / model_.model.name / plan_.study.recipes[recipe].Text()).string();
}

const LayerSource& QuantizedModels::Source(size_t recipe, CellRow& row) {
  if (plan_.study.recipes[recipe].IsFull()) {
    row.storage = StorageOfFull(*model_.source);
    return *model_.source;
  }
  Made& made = made_[recipe];
  if (!made.is_made) Sweep(recipe);
  const QuantizeResult& result = made.result;
  if (!std::exchange(made.is_told, true)) {
    CellProvenance& p = row.provenance;
    p.quantize_seconds = result.info.seconds;
    if (result.shared_by > 0) {
      p.shared_seconds = result.shared_seconds;
      p.shared_by = static_cast<uint32_t>(result.shared_by);
    }
    p.peak_bytes = made.peak_bytes;
  }
  if (result.failure) std::rethrow_exception(result.failure);
  row.storage = StorageOf(result.info);
  row.layer_errors = LayerErrorsOf(result.info);
  row.inputs = InputsOf(result.info);
  row.notes = fmt::format("{}", fmt::join(result.info.notes, "\n"));
  if (!made.source) made.source = std::make_unique<ArtefactSource>(FolderOf(recipe));
  return *made.source;
}

// Artefacts that stay are not spread over sweeps: all of them must fit.
void QuantizedModels::RequireRoomForAll() const {
  uint64_t bytes = 0;
  for (const size_t recipe : sweeps_.recipes) {
    if (!IsArtefact(FolderOf(recipe))) bytes += BytesOf(*model_.source, plan_.study.recipes[recipe]);
  }
  RequireDiskSpace(folder_, bytes);
}

// Of the lane that a recipe is in.
void QuantizedModels::Sweep(size_t recipe) {
  if (plan_.study.keep_artefacts && !std::exchange(has_room_, true)) RequireRoomForAll();
  const std::vector<size_t> lane = sweeps_.LaneOf(recipe);
  std::vector<QuantizeCell> cells;
  for (const size_t r : lane) {
    cells.push_back({plan_.study.recipes[r], FolderOf(r), !plan_.study.keep_artefacts});
    MakeDirectory(fs::path(cells.back().out_folder).parent_path().string());
  }
  const QuantizeJob job{*model_.source, backend_, model_.CalibrationOrNull(), plan_.budget,
                        model_.weights_hash};
  std::vector<QuantizeResult> results = QuantizeModel(job, cells, Failures::kReturn);
  for (size_t i = 0; i < lane.size(); ++i) {
    Made& made = made_[lane[i]];
    made.is_made = true;
    made.result = std::move(results[i]);
    made.peak_bytes = PeakMemoryBytes();
  }
}

void QuantizedModels::Drop(size_t recipe) {
  made_[recipe].source.reset();
  std::error_code code;
  if (!plan_.study.recipes[recipe].IsFull() && !plan_.study.keep_artefacts) {
    fs::remove_all(FolderOf(recipe), code);
  }
}

}  // namespace lowbit
