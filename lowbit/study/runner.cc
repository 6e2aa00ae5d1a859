// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/runner.h"

#include <algorithm>
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
#include "lowbit/eval/kept_scores.h"
#include "lowbit/study/quantized_models.h"

namespace lowbit {
namespace fs = std::filesystem;
namespace {

uint32_t StoredBits(const CheckpointSource& source) {
  const std::string first =
      ModelLayout::LayerPrefix(0) + source.layout().layers[0].linears[0].name + ".weight";
  return static_cast<uint32_t>(8 * SizeOf(source.checkpoint().Get(first).type));
}

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
  row.method = row.recipe.substr(0, row.recipe.find_first_of("-:"));  // all of "awq+gptq"
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
             const MemoryBudget& budget, Reference* reference, ScoreKeeper& keeper, CellRow& row) {
  const Stopwatch watch;
  const Decoder decoder(source, backend, budget);
  const Scorer scorer(decoder, 0, false, Sharing::kPrefixes, &keeper);
  const TaskResult result = task.Run(scorer, tokenizer, reference);
  row.protocol = result.protocol;
  for (const Measurement& m : result.measurements) {
    row.metrics.push_back({m.name, m.value, m.std_error, m.n, m.higher_is_better});
  }
  row.outcomes = OutcomesOf(result);
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
  row.inputs.clear();
  row.outcomes = {};
  if (!BadNumberIn(row).empty()) row.storage.reset();
}

KeptScores ScoresOf(const PlannedCell& cell, const std::string& folder) {
  return KeptScores(ScratchFolder(folder), cell.key);
}

// One cell, whatever happens: an exception becomes its row, unless it ends the study.
CellRow RunCell(const StudyPlan& plan, const PlannedCell& cell, const std::string& folder,
                QuantizedModels& quantized, References& references, const Backend& backend) {
  CellRow row = StartRow(plan, cell, backend);
  const bool peak_is_ours = ResetPeakMemory();
  try {
    const LayerSource& source = quantized.Source(cell.recipe, row);
    KeptScores scores = ScoresOf(cell, folder);
    Measure(*plan.tasks[cell.task], source, *plan.models[cell.model].tokenizer, backend, plan.budget,
            references.Of(cell), scores, row);
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
  std::optional<uint64_t>& peak =
      row.provenance.peak_bytes;  // perhaps of the sweep, in the row of another cell
  peak = peak_is_ours ? std::optional(std::max(peak.value_or(0), PeakMemoryBytes())) : std::nullopt;
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
  const std::vector<PlannedSweeps> sweeps = PlanSweeps(plan, folder, backend, Probe::kNo);
  const std::vector<const PlannedCell*> cells = CellsToRun(plan, sweeps);
  StudySummary summary;
  std::unique_ptr<QuantizedModels> quantized;
  std::unique_ptr<References> references;
  PlannedSweeps none;
  const PlannedCell* before = nullptr;
  for (const PlannedCell* cell : cells) {
    ThrowIfStopped();
    const bool is_next_model = before == nullptr || before->model != cell->model;
    if (before != nullptr && (is_next_model || before->recipe != cell->recipe))
      quantized->Drop(before->recipe);
    if (is_next_model) {
      references = std::make_unique<References>(plan, cell->model, backend);
      none.model = cell->model;
      const auto of_model = std::ranges::find(sweeps, cell->model, &PlannedSweeps::model);
      quantized = std::make_unique<QuantizedModels>(plan, of_model == sweeps.end() ? none : *of_model, folder,
                                                    backend);
    }
    before = cell;
    const CellRow row = RunCell(plan, *cell, folder, *quantized, *references, backend);
    references->Finish(*cell);
    results.Put(row);
    ScoresOf(*cell, folder).Remove();
    (row.status == CellStatus::kDone ? summary.done : summary.failed) += 1;
    on_cell(row, summary.done + summary.failed, cells.size());
  }
  if (before != nullptr) quantized->Drop(before->recipe);
  RemoveLeftovers(plan, folder);
  return summary;
}

}  // namespace lowbit
