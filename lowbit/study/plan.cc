// SPDX-License-Identifier: Apache-2.0
#include "lowbit/study/plan.h"

#include <algorithm>
#include <set>
#include <utility>

#include "lowbit/base/build_info.h"
#include "lowbit/base/hash.h"
#include "lowbit/base/log.h"
#include "lowbit/eval/divergence.h"
#include "lowbit/quant/output_folder.h"
#include "lowbit/quant/rules.h"

namespace lowbit {
namespace {

// Raised when a method or a protocol changes what it computes, so that old rows do not count as done.
constexpr int kResultsVersion = 1;
constexpr int kDivergenceVersion = 1;  // of cells that are compared with full precision

PlannedModel OpenPlannedModel(const StudyModel& model, const Threads& threads) {
  PlannedModel planned;
  planned.model = model;
  planned.source = std::make_unique<CheckpointSource>(model.folder);
  planned.tokenizer = std::make_unique<Tokenizer>(Tokenizer::Load(model.folder));
  planned.tokenizer->RequireRows(planned.source->config().vocab_size);
  LogDetail(fmt::format("hashing the weights of {}", model.folder));
  planned.weights_hash = planned.source->checkpoint().WeightsHash(threads);
  planned.config_hash = Sha256OfFile(model.folder + "/config.json");
  planned.tokenizer_hash = planned.tokenizer->Hash();
  return planned;
}

// Rules name layers and tensors, which not every model has.
void RequireFit(const Recipe& recipe, const PlannedModel& model, const std::string& study) {
  try {
    RequireRules(recipe, model.source->layout());
  } catch (const Error& e) {
    throw Error(e.kind(), Place(study).Item(fmt::format("model '{}'", model.model.name)), e.what());
  }
}

std::string CellKey(const PlannedModel& model, const Recipe& recipe, const Task& task,
                    const std::string& compute, bool is_compared) {
  std::string inputs = fmt::format(
      "results v{}\nweights {}\nconfig {}\ntokenizer {}\nrecipe {}\ntask {}\ntext {}\ncompute {}\n",
      kResultsVersion, model.weights_hash, model.config_hash, model.tokenizer_hash, recipe.Text(),
      task.Settings(), task.DataHash(), compute);
  if (recipe.NeedsCalibration()) inputs += model.calibration->Key() + "\n";
  if (is_compared) inputs += fmt::format("divergence v{}\n", kDivergenceVersion);
  return Sha256Hex(inputs);
}

// What makes `row` another measurement than the cell asked for.
std::string Difference(const CellRow& row, const PlannedModel& model, const Task& task,
                       const std::string& compute) {
  const CellProvenance& was = row.provenance;
  const auto changed = [](std::string_view what, std::string_view key, const std::string& from,
                          const std::string& to) {
    return fmt::format("{} changed ({} was {:.12}, is {:.12})", what, key, from, to);
  };
  if (was.weights_hash != model.weights_hash)
    return changed("the model's weights", "weights_hash", was.weights_hash, model.weights_hash);
  if (was.tokenizer_hash != model.tokenizer_hash)
    return changed("the tokenizer", "tokenizer_hash", was.tokenizer_hash, model.tokenizer_hash);
  if (was.text_hash != task.DataHash())
    return changed("the text", "text_hash", was.text_hash, task.DataHash());
  if (was.compute_type != compute) return changed("the compute type", "compute", was.compute_type, compute);
  return "the model's config.json, the calibration, the task's window or windows, or whether divergence is "
         "measured "
         "changed";
}

}  // namespace

size_t StudyPlan::CountOf(CellState state) const {
  return static_cast<size_t>(
      std::count_if(cells.begin(), cells.end(), [&](const PlannedCell& c) { return c.state == state; }));
}

bool StudyPlan::IsCompared(size_t recipe, size_t task) const {
  return study.divergence && !study.recipes[recipe].IsFull() && tasks[task]->ComparesModels();
}

StudyPlan MakePlan(const StudyFile& study, const Threads& threads, const MemoryBudget& budget) {
  StudyPlan plan;
  plan.budget = budget;
  plan.study = study;
  for (const StudyTask& task : study.tasks) plan.tasks.push_back(MakeTask(task.name, task.options));
  for (const StudyModel& model : study.models) plan.models.push_back(OpenPlannedModel(model, threads));
  for (const PlannedModel& model : plan.models) {
    for (const Recipe& recipe : study.recipes) RequireFit(recipe, model, study.path);
  }
  // Recipes that learn nothing from it are measured on what it holds out.
  if (study.calibration && !std::ranges::all_of(study.recipes, &Recipe::IsFull)) {
    for (PlannedModel& model : plan.models)
      model.calibration = LoadCalibrationSet(*study.calibration, *model.tokenizer);
  }
  for (size_t m = 0; m < plan.models.size(); ++m) {
    for (size_t r = 0; r < study.recipes.size(); ++r) {
      for (size_t t = 0; t < plan.tasks.size(); ++t) {
        plan.cells.push_back(
            {m, r, t,
             CellKey(plan.models[m], study.recipes[r], *plan.tasks[t], study.compute, plan.IsCompared(r, t)),
             CellState::kMissing});
      }
    }
  }
  return plan;
}

namespace {

// Calls `estimate`. A cell that cannot be planned will say why in its row; only too little memory is refused
// here.
template <class F>
void OrLeaveToTheCells(const std::string& what, const F& estimate) {
  try {
    estimate();
  } catch (const Error& e) {
    if (e.kind() == ErrorKind::kResource) throw;
    LogDetail(fmt::format("no estimate for {}: {}", what, e.what()));
  }
}

}  // namespace

std::vector<size_t> PlannedSweeps::LaneOf(size_t recipe) const {
  std::vector<size_t> lane;
  for (const QuantizeLane& one : quantize.lanes) {
    lane.clear();
    for (const size_t place : one.recipes) lane.push_back(recipes[place]);
    if (std::ranges::find(lane, recipe) != lane.end()) return lane;
  }
  return {recipe};  // it could not be planned, and will say why
}

std::vector<PlannedSweeps> PlanSweeps(const StudyPlan& plan, const std::string& folder,
                                      const Backend& backend, Probe probe) {
  std::vector<PlannedSweeps> all;
  const uint64_t disk_bytes = plan.study.keep_artefacts ? UINT64_MAX : FreeDiskBytes(folder);
  for (size_t m = 0; m < plan.models.size(); ++m) {
    std::set<size_t> missing;
    for (const PlannedCell& cell : plan.cells) {
      const bool runs = cell.model == m && cell.state != CellState::kDone;
      if (runs && !plan.study.recipes[cell.recipe].IsFull()) missing.insert(cell.recipe);
    }
    if (missing.empty()) continue;
    PlannedSweeps& sweeps = all.emplace_back(PlannedSweeps{m, {missing.begin(), missing.end()}, {}});
    std::vector<Recipe> recipes;
    for (const size_t r : sweeps.recipes) recipes.push_back(plan.study.recipes[r]);
    OrLeaveToTheCells(plan.models[m].model.name, [&] {
      sweeps.quantize = PlanQuantize({*plan.models[m].source, backend, plan.models[m].CalibrationOrNull(),
                                      plan.budget, plan.models[m].weights_hash},
                                     recipes, probe, disk_bytes);
    });
  }
  return all;
}

std::vector<const PlannedCell*> CellsToRun(const StudyPlan& plan, const std::vector<PlannedSweeps>& sweeps) {
  std::vector<const PlannedCell*> cells;
  for (const PlannedCell& cell : plan.cells) {
    if (cell.state != CellState::kDone) cells.push_back(&cell);
  }
  const auto lane_of = [&](const PlannedCell& cell) -> size_t {
    for (const PlannedSweeps& of_model : sweeps) {
      if (of_model.model != cell.model) continue;
      for (size_t lane = 0; lane < of_model.quantize.lanes.size(); ++lane) {
        for (const size_t place : of_model.quantize.lanes[lane].recipes) {
          if (of_model.recipes[place] == cell.recipe) return lane;
        }
      }
    }
    return 0;
  };
  std::ranges::stable_sort(cells, [&](const PlannedCell* a, const PlannedCell* b) {
    return std::pair(a->model, lane_of(*a)) < std::pair(b->model, lane_of(*b));
  });
  return cells;
}

std::vector<CellCosts> EstimateCosts(const StudyPlan& plan, const Backend& backend) {
  std::vector<CellCosts> costs;
  for (size_t m = 0; m < plan.models.size(); ++m) {
    const CheckpointSource& source = *plan.models[m].source;
    std::vector<CellCosts> of_tasks(plan.tasks.size());
    std::vector<size_t> compared(plan.tasks.size());  // of these cells
    for (const PlannedCell& cell : plan.cells) {
      if (cell.model != m || cell.state == CellState::kDone) continue;
      ++of_tasks[cell.task].cells;
      compared[cell.task] += plan.IsCompared(cell.recipe, cell.task) ? 1 : 0;
    }
    for (size_t t = 0; t < of_tasks.size(); ++t) {
      CellCosts& cost = of_tasks[t];
      if (cost.cells == 0) continue;
      cost.model = m;
      cost.task = t;
      OrLeaveToTheCells(plan.tasks[t]->Name(), [&] {
        const ForwardJob job = plan.tasks[t]->Job(*plan.models[m].tokenizer, source.config());
        const auto add = [&](size_t passes, const ForwardJob& one) {
          if (passes == 0) return;
          cost.peak_bytes = std::max(cost.peak_bytes, PlanForward(source, backend, one, plan.budget).Peak());
          cost.seconds += static_cast<double>(passes) * ProbeSeconds(source, backend, one);
        };
        // Full precision passes once for all that are compared with it, its own cell included.
        const size_t others = cost.cells - compared[t];
        add(compared[t] > 0 ? std::max<size_t>(others, 1) : others, job);
        if (compared[t] > 0) add(compared[t], ComparedJob(job, source, backend, plan.budget));
      });
      costs.push_back(cost);
    }
  }
  return costs;
}

void MarkKnownCells(StudyPlan& plan, const ResultsDb& results) {
  const std::vector<CellRow> rows = results.All();
  for (PlannedCell& cell : plan.cells) {
    const PlannedModel& model = plan.models[cell.model];
    const std::string recipe = plan.study.recipes[cell.recipe].Text();
    const Task& task = *plan.tasks[cell.task];
    for (const CellRow& row : rows) {
      if (row.key == cell.key) {
        const bool done = row.status == CellStatus::kDone;
        cell.state = done ? CellState::kDone : CellState::kFailed;
        plan.rows_of_other_code += done && row.provenance.code_version != CodeVersion() ? 1 : 0;
      } else if (row.model == model.model.name && row.recipe == recipe && row.task == task.Name()) {
        throw Error(ErrorKind::kConflict, Place(results.path()),
                    fmt::format("holds {} / {} / {} made from other inputs: {}", row.model, row.recipe,
                                row.task, Difference(row, model, task, plan.study.compute)))
            .Hint("choose another output folder, or delete this one");
      }
    }
  }
}

}  // namespace lowbit
