// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/runner.h"

#include <fmt/ranges.h>

#include <filesystem>
#include <new>
#include <thread>

#include "lowbit/base/build_info.h"
#include "lowbit/base/files.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/log.h"
#include "lowbit/base/memory.h"
#include "lowbit/base/stop.h"
#include "lowbit/base/stopwatch.h"
#include "lowbit/eval/divergence.h"
#include "lowbit/quant/layer_stream.h"

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

uint32_t StoredBits(const CheckpointSource& source) {
  const std::string first =
      ModelLayout::LayerPrefix(0) + source.layout().layers[0].linears[0].name + ".weight";
  return static_cast<uint32_t>(8 * SizeOf(source.checkpoint().Get(first).type));
}

// Where quantized models lie that are dropped after use. The name is nobody else's: all in it is removed.
fs::path ScratchFolder(const std::string& folder) {
  return fs::path(folder) / ".lowbit-scratch";
}

// The model of one (model, recipe): opened for the first cell that needs it, dropped after the last. When a
// study ends early, what is finished of a quantized model stays for the next run.
class QuantizedModel {
 public:
  QuantizedModel(const PlannedModel& model, const Recipe& recipe, const std::string& folder, bool keep,
                 const Backend& backend, const MemoryBudget& budget)
      : model_(model),
        recipe_(recipe),
        folder_((keep ? fs::path(folder) / "artefacts" : ScratchFolder(folder)) / model.model.name /
                recipe.Text()),
        keep_(keep),
        backend_(backend),
        budget_(budget) {}

  const LayerSource& Source(CellRow& row) {
    if (recipe_.IsFull()) {
      row.storage = StorageOfFull(*model_.source);
      return *model_.source;
    }
    if (!source_) {
      MakeDirectory(folder_.parent_path().string());
      const Stopwatch watch;
      info_ = Quantize();
      row.provenance.quantize_seconds = watch.Seconds();
      source_ = std::make_unique<ArtefactSource>(folder_.string());
    }
    row.storage = StorageOf(info_);
    row.layer_errors = LayerErrorsOf(info_);
    row.notes = fmt::format("{}", fmt::join(info_.notes, "\n"));
    return *source_;
  }

  // After the last cell.
  void Drop() {
    source_.reset();
    std::error_code code;
    if (!recipe_.IsFull() && !keep_) fs::remove_all(folder_, code);
  }

 private:
  ArtefactInfo Quantize() const {
    const auto quantize = [&] {
      const QuantizeCell cell{recipe_, folder_.string()};
      return QuantizeModel(
                 {*model_.source, backend_, model_.CalibrationOrNull(), budget_, model_.weights_hash},
                 {&cell, 1})[0]
          .info;
    };
    if (keep_) return quantize();
    try {
      return quantize();
    } catch (const Error& e) {
      // What an earlier run left has other inputs, or was damaged since.
      const bool is_of_scratch = e.place().file().starts_with(folder_.string());
      if (!is_of_scratch || (e.kind() != ErrorKind::kConflict && e.kind() != ErrorKind::kContent)) throw;
      LogDetail(fmt::format("{}; making it anew", e.what()));
    }
    std::error_code code;
    fs::remove_all(folder_, code);
    if (code) throw WriteError::Of(folder_.string(), "remove", code.value());
    return quantize();
  }

  const PlannedModel& model_;
  const Recipe& recipe_;
  fs::path folder_;
  bool keep_;
  const Backend& backend_;
  const MemoryBudget& budget_;
  ArtefactInfo info_;
  std::unique_ptr<ArtefactSource> source_;
};

// The full-precision side of each task of one model: made when the first cell has use for it, by the cell of full
// precision itself where that runs first, dropped after the last.
class References {
 public:
  References(const StudyPlan& plan, size_t model, const Backend& backend)
      : plan_(plan), source_(*plan.models[model].source), backend_(backend), sides_(plan.tasks.size()) {
    for (const PlannedCell& cell : plan.cells) {
      const bool runs = cell.model == model && cell.state != CellState::kDone;
      if (runs && plan.IsCompared(cell.recipe, cell.task)) ++sides_[cell.task].cells;
    }
  }

  // nullptr where the cell has nothing to compare or to keep.
  Reference* Of(const PlannedCell& cell) {
    Side& side = sides_[cell.task];
    if (side.cells == 0) return nullptr;
    const bool is_there = side.reference != nullptr;
    if (!is_there) side.reference = std::make_unique<Reference>(source_, backend_, plan_.budget);
    return is_there && !plan_.IsCompared(cell.recipe, cell.task) ? nullptr : side.reference.get();
  }

  void Finish(const PlannedCell& cell) {
    if (!plan_.IsCompared(cell.recipe, cell.task)) return;
    Side& side = sides_[cell.task];
    if (--side.cells == 0) side.reference.reset();
  }

 private:
  struct Side {
    size_t cells = 0;  // to be compared yet
    std::unique_ptr<Reference> reference;
  };
  const StudyPlan& plan_;
  const LayerSource& source_;
  const Backend& backend_;
  std::vector<Side> sides_;  // of tasks
};

CellRow StartRow(const StudyPlan& plan, const PlannedCell& cell, const Backend& backend) {
  const PlannedModel& model = plan.models[cell.model];
  const Recipe& recipe = plan.study.recipes[cell.recipe];
  CellRow row;
  row.key = cell.key;
  row.model = model.model.name;
  row.model_folder = model.model.folder;
  row.recipe = recipe.Text();
  row.method = recipe.method;
  row.weight_bits = recipe.IsFull() ? StoredBits(*model.source) : static_cast<uint32_t>(recipe.weights.bits);
  row.group_size = recipe.IsFull() ? 0 : recipe.weights.group_size;
  row.symmetric = !recipe.IsFull() && recipe.weights.symmetric;
  row.task = plan.tasks[cell.task]->Name();
  row.protocol = plan.tasks[cell.task]->Settings();
  CellProvenance& p = row.provenance;
  p.weights_hash = model.weights_hash;
  p.tokenizer_hash = model.tokenizer_hash;
  p.text_hash = plan.tasks[cell.task]->DataHash();
  p.recipe_hash = Sha256Hex(row.recipe);
  p.code_version = CodeVersion();
  p.compute_type = Name(backend.compute());
  p.isa = backend.Isa();
  p.cpu = CpuName();
  p.cores = std::thread::hardware_concurrency();
  p.threads = static_cast<uint32_t>(backend.threads().count());
  p.started = UtcNow();
  return row;
}

void Measure(const Task& task, const LayerSource& source, const Tokenizer& tokenizer, const Backend& backend,
             const MemoryBudget& budget, Reference* reference, CellRow& row) {
  const Stopwatch watch;
  const Decoder decoder(source, backend, budget);
  const TaskResult result = task.Run(Scorer(decoder), tokenizer, reference);
  row.protocol = result.protocol;
  for (const Measurement& m : result.measurements) {
    row.metrics.push_back({m.name, m.value, m.std_error, m.n, m.higher_is_better});
  }
  row.provenance.eval_seconds = watch.Seconds();
}

// What an exception says in a cell's row. A request to stop is none of its business, nor are errors that
// follow from one, as from a pipe that was closed.
void MarkFailed(CellRow& row, ErrorKind kind, const std::string& what) {
  ThrowIfStopped();
  row.status = CellStatus::kFailed;
  row.error_kind = Name(kind);
  row.error = what;
  row.metrics.clear();
  row.layer_errors.clear();
  if (!BadNumberIn(row).empty()) row.storage.reset();
}

// One cell, whatever happens: an exception becomes its row, unless it ends the study.
CellRow RunCell(const StudyPlan& plan, const PlannedCell& cell, QuantizedModel& quantized,
                References& references, const Backend& backend) {
  CellRow row = StartRow(plan, cell, backend);
  const bool peak_is_ours = ResetPeakMemory();
  try {
    const LayerSource& source = quantized.Source(row);
    Measure(*plan.tasks[cell.task], source, *plan.models[cell.model].tokenizer, backend, plan.budget,
            references.Of(cell), row);
    if (const std::string bad = BadNumberIn(row); !bad.empty()) throw Error(ErrorKind::kNumeric, bad);
  } catch (const WriteError&) {
    throw;  // the next cell would meet the same disk
  } catch (const Error& e) {
    MarkFailed(row, e.kind(), e.what());
  } catch (const std::bad_alloc&) {
    MarkFailed(row, ErrorKind::kResource, "out of memory");
  } catch (const std::exception& e) {
    MarkFailed(row, ErrorKind::kInternal, e.what());
  }
  if (peak_is_ours) row.provenance.peak_bytes = PeakMemoryBytes();
  return row;
}

// At the end of a study: what this run, or one that was killed, has no more use for.
void RemoveLeftovers(const StudyPlan& plan, const std::string& folder) {
  std::error_code code;
  fs::remove_all(ScratchFolder(folder), code);
  const fs::path kept = fs::path(folder) / "artefacts";  // only where it is empty: all its cells failed
  for (const PlannedModel& m : plan.models) fs::remove(kept / m.model.name, code);
  fs::remove(kept, code);
}

}  // namespace

StudySummary RunPlan(const StudyPlan& plan, const std::string& folder, ResultsDb& results,
                     const Backend& backend, const OnCell& on_cell) {
  const size_t total = plan.cells.size() - plan.CountOf(CellState::kDone);
  StudySummary summary;
  std::unique_ptr<QuantizedModel> quantized;
  std::unique_ptr<References> references;
  size_t model = plan.models.size(), recipe = 0;
  for (const PlannedCell& cell : plan.cells) {
    if (cell.state == CellState::kDone) continue;
    ThrowIfStopped();
    if (cell.model != model) references = std::make_unique<References>(plan, cell.model, backend);
    if (cell.model != model || cell.recipe != recipe) {
      model = cell.model;
      recipe = cell.recipe;
      if (quantized) quantized->Drop();  // before the next one writes
      quantized = std::make_unique<QuantizedModel>(plan.models[model], plan.study.recipes[recipe], folder,
                                                   plan.study.keep_artefacts, backend, plan.budget);
    }
    const CellRow row = RunCell(plan, cell, *quantized, *references, backend);
    references->Finish(cell);
    results.Put(row);
    (row.status == CellStatus::kDone ? summary.done : summary.failed) += 1;
    on_cell(row, summary.done + summary.failed, total);
  }
  if (quantized) quantized->Drop();
  RemoveLeftovers(plan, folder);
  return summary;
}

}  // namespace lowbit
